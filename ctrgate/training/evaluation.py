"""What a trained model says of a split, and what its gates do there, measured."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.data.reader import Order, Reader
from ctrgate.errors import DataError
from ctrgate.features.layout import Layout, SequenceGroup, role_column
from ctrgate.features.prepared import Prepared
from ctrgate.features.sources import SplitName
from ctrgate.metrics.summary import evaluate_scores
from ctrgate.models.plan import plan_inputs
from ctrgate.training.next_item import items_of
from ctrgate.training.objective import NextItemConfig
from ctrgate.training.observer import has_gates, observe
from ctrgate.training.predict import EVALUATION_BATCH, outputs
from ctrgate.training.ranked import measure_ranks, ranked
from ctrgate.training.runs import Restored
from ctrgate.training.task import logits_of

__all__ = ["measure", "measured", "observed"]

_GATE_BATCHES = 4  # at most 65,536 rows tell enough of the gates


def measured(restored: Restored, split: SplitName, *, seed: int) -> tuple[pl.DataFrame, float, dict[str, Any]]:
    """A split's rows with what the model says of them, rows per second, and the metrics."""
    objective, layout = restored.settings.objective, restored.layout
    lengths = [_events(restored.prepared, split, group) for group in layout.sequences]
    if not isinstance(objective, NextItemConfig):
        scored, rate = _scored(restored, split)
        scored = scored.with_columns(lengths)
        return scored, rate, measure(scored, layout=layout, seed=seed)
    scored, rate = ranked(restored, split, objective=objective)
    scored = scored.with_columns(lengths)
    items, groups = items_of(layout, restored.settings.model, objective), _role(scored, layout, "group")
    return scored, rate, measure_ranks(scored, objective=objective, items=items, groups=groups, seed=seed)


def measure(scored: pl.DataFrame, *, layout: Layout, seed: int) -> dict[str, Any]:
    """All metrics of the first label, and under ``labels`` those of the others; a row without a label is left out.

    Raises:
        DataError: Where no row has the label.
    """
    by_label = {}
    for name in layout.labels:
        known = scored.filter(pl.col(role_column("label", name)).is_not_nan())
        if known.is_empty():
            raise DataError(f"no row has a value of label {name}; there is nothing to measure")
        by_label[name] = evaluate_scores(
            known[role_column("label", name)].to_numpy(),
            known[f"logit:{name}"].to_numpy(),
            weights=_role(known, layout, "weight"),
            groups=_role(known, layout, "group"),
            segments=_segments(known),
            seed=seed,
        )
    first, *others = layout.labels
    return {**by_label[first], "labels": {name: by_label[name] for name in others}}


def observed(restored: Restored, scored: pl.DataFrame, *, split: SplitName) -> dict[str, Any]:
    """What the network's gates do on up to 65,536 rows, whole batches spread evenly over the split.

    A pass of its own, so that scores and their speed are those of the network alone.

    Args:
        restored: The run.
        scored: All rows of the split in their order, with their segments.
        split: Which.
    """
    network, layout = restored.model.network, restored.layout
    inputs = plan_inputs(layout, restored.settings.tables, restored.settings.model.embeddings(layout))
    reader, order = Reader(restored.prepared.files(split), layout=layout), Order(batch_size=EVALUATION_BATCH)
    places = np.linspace(0, reader.num_batches(order) - 1, _GATE_BATCHES).round().astype(int)
    chosen = np.unique(places).tolist() if has_gates(network) else []
    starts = [number * EVALUATION_BATCH for number in chosen]
    parts = [np.arange(start, min(start + EVALUATION_BATCH, reader.num_rows)) for start in starts]
    rows = np.concatenate([np.arange(0), *parts])
    batches = chain.from_iterable(islice(reader.batches(replace(order, first_batch=number)), 1) for number in chosen)
    with observe(network, inputs=inputs, segments=_segments(scored[rows])) as observer:
        for _ in outputs(restored.model, batches, num_rows=len(rows), title="gates"):
            pass  # the observer has seen the batch
    return {"split": split, **observer.summary()}


def _scored(restored: Restored, split: SplitName) -> tuple[pl.DataFrame, float]:
    """Every row of a split in its order: logits in float64, labels and roles; and the rows per second."""
    layout, files = restored.layout, restored.prepared.files(split)
    reader = Reader(files, layout=layout)
    if reader.num_rows != restored.prepared.num_rows(split):
        raise DataError(f"{split} has {reader.num_rows} rows, its manifest says {restored.prepared.num_rows(split)}")
    started = time.monotonic()
    batches = reader.batches(Order(batch_size=EVALUATION_BATCH))
    said = logits_of(restored.model, batches, num_rows=reader.num_rows, title=split, shifts=restored.logit_shifts)
    parts = [logits for _, logits in said]
    rate = reader.num_rows / (time.monotonic() - started)
    logits = np.concatenate(parts)
    columns = [role_column("label", name) for name in layout.labels]
    columns += [column for role, names in layout.roles.items() if role != "order" for column in names]
    roles = pl.scan_parquet(files).select(list(dict.fromkeys(columns))).collect()
    named = [pl.Series(f"logit:{name}", logits[:, i]) for i, name in enumerate(layout.labels)]
    return roles.with_columns(*named), rate


def _events(prepared: Prepared, split: SplitName, group: SequenceGroup) -> pl.Series:
    """A segment by the number of a row's past events: up to 3, the rest of train's lowest fifth, and more."""
    length = pl.col(group.members[0].column).list.len()
    lowest = pl.scan_parquet(prepared.files("train")).select(length.quantile(0.2, "lower")).collect().item()
    most = max(3, int(lowest))
    named = pl.when(length <= 3).then(pl.lit("0 to 3")).when(length <= most).then(pl.lit(f"4 to {most}"))
    rows = pl.scan_parquet(prepared.files(split)).select(named.otherwise(pl.lit(f"more than {most}"))).collect()
    return rows.to_series().alias(f"segment:events in {group.name}")


def _segments(scored: pl.DataFrame) -> dict[str, NDArray[Any]]:
    """The segments of scored rows by name: those of the dataset's roles, and those by the length of histories."""
    columns = [column for column in scored.columns if column.startswith("segment:")]
    return {column.removeprefix("segment:"): scored[column].to_numpy() for column in columns}


def _role(rows: pl.DataFrame, layout: Layout, role: Literal["weight", "group"]) -> NDArray[Any] | None:
    return next((rows[column].to_numpy() for column in layout.roles.get(role, ())), None)
