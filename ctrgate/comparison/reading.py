"""A run, an artifact or a file of predictions, told apart and read as one side of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.comparison.rows import Rows, check_same
from ctrgate.comparison.side import Kind, Side
from ctrgate.config import load, settings
from ctrgate.errors import ConfigError, DataError
from ctrgate.features.rawfile import UNREADABLE
from ctrgate.files import checksum
from ctrgate.folders import is_artifact, step_of
from ctrgate.progress import console

__all__ = ["kind_of", "read_side"]


@settings
class _Trained:
    """What a run's config.yaml says of its network and its data."""

    model: Mapping[str, Any]
    dataset: Mapping[str, Any]

    @property
    def sampled(self) -> bool:
        """Whether train's negatives were, so that logits are to be corrected."""
        return bool(self.dataset.get("negative_sampling_rate", 1) < 1)


def kind_of(place: Path, *, setting: str) -> Kind:
    """What lies at a place.

    Raises:
        ConfigError: Nothing that can be compared.
    """
    if place.is_file():
        return "predictions"
    if (place / "config.yaml").is_file():
        return "run"
    if is_artifact(place):
        return "artifact"
    found = "holds neither a run nor an artifact" if place.is_dir() else "does not exist"
    raise ConfigError(
        f"{setting}: {place} {found}; name the folder of a run (runs/NAME) or of an artifact (runs/NAME/artifact), or "
        "a Parquet file of predictions"
    )


def read_side(place: Path, rows: Rows, *, which: Literal["best", "last"], setting: str) -> Side:
    """The logits of one side for the rows.

    A run that was evaluated at the same checkpoint is read from its evaluation, and otherwise predicted. An artifact
    computes: from the encoded rows where it has their encoder, else from the raw rows through its own.

    Args:
        place: A run's folder, an artifact's, or a file of predictions.
        rows: What is compared.
        which: The checkpoint of a run.
        setting: The setting that named the place, for messages.

    Raises:
        ConfigError: Nothing there that can be compared.
        DataError: It is of other rows, or says something that is no number.
    """
    kind = kind_of(place, setting=setting)
    side = {"run": _run, "artifact": _artifact, "predictions": _file}[kind](place, rows, which)
    bad = ~np.isfinite(side.logits)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{place} says {side.logits[row]} of row {row} ({int(bad.sum())} such rows); a model diverged")
    return side


def _run(place: Path, rows: Rows, which: Literal["best", "last"]) -> Side:
    file, pointer = place / "evaluation" / f"{rows.split}.parquet", place / "checkpoints" / which
    saved = step_of(pointer.read_text().strip()) if pointer.is_file() else None
    trained = load(place / "config.yaml", _Trained)
    step = _evaluated_step(file, corrected=trained.sampled)
    side = Side(
        name=place.name,
        kind="run",
        place=str(place),
        read="evaluation",
        model=trained.model["name"],
        step=step,
        identity=None,
        logits=np.empty(0),
    )
    if step is not None and saved in (None, step):  # a run whose checkpoints are gone has its evaluation still
        remedy = "evaluate the run on that split, or export it and compare the artifact, which scores the rows itself"
        logits = _read(file, rows, column=f"logit:{rows.label}", remedy=remedy)
        return replace(side, identity=checksum(file), logits=logits)
    from ctrgate.comparison.predict import of_run  # torch, which predictions in files do without

    logits = of_run(place, rows, which=which)
    return replace(side, read="encoded rows", step=saved, logits=logits)


def _artifact(place: Path, rows: Rows, _: Literal["best", "last"]) -> Side:
    from ctrgate.comparison.predict import of_artifact  # torch, which predictions in files do without

    return of_artifact(place, rows)


def _file(place: Path, rows: Rows, _: Literal["best", "last"]) -> Side:
    names = _columns(place)
    column = next((name for name in (f"logit:{rows.label}", "logit") if name in names), None)
    if column is None:
        raise DataError(
            f"{place} has neither logit:{rows.label} nor logit, it has {', '.join(names)}; write log odds: "
            "probabilities that are rounded lose the order of high scores"
        )
    logits = _read(place, rows, column=column, remedy="write predictions of the same rows, in their order")
    return Side(
        name=place.stem,
        kind="predictions",
        place=str(place),
        read="file",
        model=None,
        step=None,
        identity=checksum(place),
        logits=logits,
    )


def _read(file: Path, rows: Rows, *, column: str, remedy: str) -> NDArray[np.float64]:
    """A column of logits, once it is clear that the file is of the same rows.

    Roles are called as encoded (``key:id``) or, as ``score`` writes keys, as their raw column (``id``).
    """
    names = _columns(file)
    if column not in names:
        raise DataError(f"{file} lacks {column}, it has {', '.join(names)}; {remedy}")
    called = {
        mine: [mine, mine.removeprefix("key:")] if mine.startswith("key:") else [mine] for mine in rows.identifying
    }
    both = {mine: name for mine, known in called.items() for name in known[::-1] if name in names}
    if not both:
        raise DataError(
            f"{file} has none of {', '.join(rows.identifying)}, so nothing shows that its rows are the same; {remedy}"
        )
    check_same(rows, [file], columns=both, remedy=remedy)
    if list(both) == [rows.label_column]:
        console.print(f"{file}: only labels show that rows are the same; dataset.roles.keys would show more")
    logits: NDArray[np.float64] = pl.read_parquet(file, columns=[column]).to_series().cast(pl.Float64).to_numpy()
    return logits


def _columns(file: Path) -> list[str]:
    try:
        return pl.scan_parquet(file).collect_schema().names()
    except (OSError, *UNREADABLE) as error:
        raise DataError(f"{file} is no Parquet file that can be read: {error}") from error


def _evaluated_step(file: Path, *, corrected: bool) -> int | None:
    """The step of the checkpoint that an evaluation is of; None where there is none that is whole.

    With ``corrected``, none either where its logits are from before they were corrected for sampling.
    """
    try:
        found = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        step = None if corrected and "logit_shifts" not in found else found["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return int(step) if file.is_file() and step is not None else None
