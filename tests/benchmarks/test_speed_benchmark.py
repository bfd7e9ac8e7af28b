"""The benchmark of speed compares the same network and the same metric, and its arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.speed.figures import figures, losses, table
from benchmarks.speed.place import Place
from benchmarks.speed.plain import PlainFinalMLP
from benchmarks.speed.process import measure
from benchmarks.speed.rows import clicks
from benchmarks.speed.sides import SIDES
from benchmarks.speed.size import BATCH, CATEGORIES, NUMBERS
from benchmarks.speed.turns import Measured
from ctrgate import train
from ctrgate.contracts import Fields
from ctrgate.features.layout import Field, Layout
from ctrgate.metrics.auc import delong
from ctrgate.models.network import Network
from ctrgate.models.plan import plan_inputs


@pytest.mark.parametrize("gates", ["constant", "context"])
def test_the_plain_network_is_the_one_that_it_is_compared_with(gates: str) -> None:
    fields = [Field(name=name, kind="number") for name in NUMBERS]
    fields += [Field(name=name, kind="id", table=name) for name in CATEGORIES]
    sizes = dict.fromkeys(CATEGORIES, 7)
    layout = Layout(fields=tuple(fields), sequences=(), tables=sizes, labels=("label",), roles={})
    config = Place(Path("none"), gates=gates).settings(train.Config)
    inputs = plan_inputs(layout, config.tables, config.model.embeddings(layout))
    network, plain = Network(config.model, inputs=inputs), PlainFinalMLP(sizes, gates)
    theirs, ours = dict(plain.named_parameters()), list(network.named_parameters())
    copied = _pairs(ours, theirs)
    assert len(copied) == len(ours)
    tables = [name for name in theirs if "embeddings" in name]
    assert sorted(copied.values()) == sorted(set(theirs) - set(tables))
    for name, parameter in ours:
        parameter.data = theirs[copied[name]].data.reshape(parameter.shape)
    numbers, ids = torch.randn(64, len(NUMBERS)), torch.randint(7, (64, len(CATEGORIES)))
    rows = {name: plain.embeddings[place](ids[:, place]) for place, name in enumerate(CATEGORIES)}
    for place, gate in enumerate(plain.gates, start=1):
        rows |= {f"gate{place}/{name}": of(ids[:, CATEGORIES.index(name)]) for name, of in gate.embeddings.items()}
    logits = network(Fields(rows=rows, numbers=numbers)).logits
    torch.testing.assert_close(logits, plain(numbers, ids), rtol=1e-4, atol=1e-5)


def _pairs(ours: list[tuple[str, torch.nn.Parameter]], theirs: dict[str, torch.Tensor]) -> dict[str, str]:
    """Per parameter of ctrgate's network the plain one's that does the same."""
    fixed = {
        "body.fusion.linear1.weight": "linears.0.weight",
        "body.fusion.linear1.bias": "linears.0.bias",
        "body.fusion.linear2.weight": "linears.1.weight",
        "body.fusion.linear2.bias": "linears.1.bias",
        "body.fusion.bilinear": "bilinear",
    }
    pairs = {}
    for name, _ in ours:
        other = fixed.get(name, name)
        if name.startswith("projections."):
            other = f"numbers.{name.split('.')[1]}.weight"
        for place in (1, 2):
            other = other.replace(f"body.mlp{place}.blocks.", f"streams.{place - 1}.")
            other = other.replace(f"body.gates.gate{place}.hidden.", f"gates.{place - 1}.layers.0.")
            other = other.replace(f"body.gates.gate{place}.output.", f"gates.{place - 1}.layers.2.")
            other = other.replace(f"body.gates.gate{place}.empty_context", f"gates.{place - 1}.empty")
        assert other in theirs, name
        pairs[name] = other
    return pairs


def test_both_sides_measure_the_same_auc() -> None:
    labels, logits = clicks(10_000)
    assert len(np.unique(logits)) < len(logits)
    assert delong(labels, logits).value == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


def _stage(ours: list[float]) -> dict[str, Measured]:
    return {
        "fused bf16": Measured(rows=100, seconds=[2.0, 4.0, 2.0], cpu_seconds=ours, peak_mb=7.0),
        "plain": Measured(rows=100, seconds=[8.0, 8.0, 8.0], cpu_seconds=[4.0, 8.0, 4.0], peak_mb=9.0),
        "limit bf16": Measured(rows=100, seconds=[1.0, 1.0, 1.0], cpu_seconds=[0.5, 1.0, 0.5], peak_mb=5.0),
    }


def test_ratios_are_medians_of_rounds_by_processor_time() -> None:
    found = figures(_stage([1.0, 2.0, 1.0]))["fused bf16"]
    assert (found["to_plain"], found["of_limit"], found["to_plain_by_the_clock"]) == (4.0, 0.5, 4.0)
    assert (found["rows_per_second"], found["spread"]) == (50.0, [25.0, 50.0])
    line = "| train | fused bf16 | 50 | 25 to 50 | 100 | 7 | 4.0 | 50% |"
    assert table({"train": figures(_stage([1.0, 2.0, 1.0]))}).splitlines()[2] == line


def test_a_ratio_lost_by_more_than_a_fifth_is_told_and_others_are_not() -> None:
    kept = {"train": figures(_stage([1.0, 2.0, 1.0]))}
    assert losses({"train": figures(_stage([1.2, 2.4, 1.2]))}, kept) == []
    lost = losses({"train": figures(_stage([1.3, 2.6, 1.3]))}, kept)
    assert lost == [
        "train, fused bf16: to_plain is 3.08, it was 4.00",
        "train, fused bf16: of_limit is 0.38, it was 0.50",
    ]


@pytest.mark.slow
def test_every_side_works(tmp_path: Path) -> None:
    Place(tmp_path).make(num_rows=200_000)
    for stage, sides in SIDES.items():
        if stage != "auc":
            found = measure(stage, list(sides), folder=tmp_path, threads=1, turns=1)
            assert all(side.rows >= BATCH and side.peak_mb > 0 and side.seconds for side in found.values())
