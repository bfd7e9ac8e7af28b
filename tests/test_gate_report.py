"""What ``evaluate`` keeps of a run's gates, and where ``report`` and MLflow show it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from matplotlib.figure import Figure

from ctrgate import evaluate, report
from ctrgate.config import load
from ctrgate.data.reader import Order, Reader
from ctrgate.gate_report.drawn import gate_figures
from ctrgate.gate_report.headline import headline
from ctrgate.gate_report.section import gate_section
from ctrgate.progress import console
from ctrgate.training import evaluation
from ctrgate.training.runs import Restored, RunFolder, restore
from tests.test_report import some_gates

FIELDS = ["user", "item", "price"]
MODELS: dict[str, dict[str, Any]] = {
    "gdcn": {"name": "gdcn", "num_cross_layers": 2},
    "mixture": {"name": "mixture_of_experts", "num_experts": 3, "mlp": {"hidden": [8]}, "gate": {"name": "softmax"}},
    "dcn_v2": {"name": "dcn_v2", "num_cross_layers": 1},
    "dnn": {"name": "dnn", "mlp": {"hidden": [8]}},
}
Verb = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Verb]:
    """By name of a model its run of one epoch, as a function that runs verbs on it."""
    folder = tmp_path_factory.mktemp("gates")
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": random.integers(9, size=700),
            "item": random.integers(7, size=700),
            "price": random.normal(size=700),
            "device": random.choice(["phone", "desk", "tv"], 700, p=[0.6, 0.3, 0.1]),
            "click": random.integers(2, size=700),
        }
    )
    frame.write_parquet(folder / "rows.parquet")
    done: set[str] = set()

    def make(name: str) -> Verb:
        values = {
            "name": name,
            "runs": str(folder / "runs"),
            "dataset": {
                "name": "small",
                "files": str(folder / "rows.parquet"),
                "split": {"by": "order", "valid": 0.2, "test": 0.1},
                "labels": [{"name": "click"}],
                "roles": {"segments": ["device"]},
                "features": [
                    {"kind": "categorical", "name": "user"},
                    {"kind": "categorical", "name": "item"},
                    {"kind": "numeric", "name": "price"},
                ],
            },
            "prepare": {"into": str(folder / "prepared")},
            "tables": {"dim": 4, "dims": {"item": 2}, "init_std": 0.5, "rule": {"name": "dense"}},
            "model": MODELS[name],
            "train": {"batch_size": 100, "epochs": 1, "learning_rate": 0.02},
            "tracking": {"enabled": False},
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))

        def verb(called: str, *overrides: str) -> dict[str, Any]:
            module = import_module(f"ctrgate.{called}")
            result: dict[str, Any] = module.run(load(path, module.Config, overrides))
            return result

        if name not in done:
            verb("prepare")
            verb("train")
            done.add(name)
        return verb

    return make


def of_run(verb: Verb) -> Restored:
    return restore(RunFolder(Path(verb("report")["report"]).parents[1]))


def factors_by_hand(restored: Restored, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The first cross layer's factors on every row of a split, ``(n, D)``, and each row's device."""
    files = restored.prepared.files(split)
    gate = restored.model.network.get_submodule("body.cross.layers.0.gate")
    found = []
    handle = gate.register_forward_pre_hook(lambda _, arguments: found.append(arguments[1]))
    try:
        (batch,) = Reader(files, layout=restored.layout).batches(Order(batch_size=1_000))
        with torch.no_grad():
            restored.model(batch)
    finally:
        handle.remove()
    weight = gate.weight.weight.detach().double().numpy()
    factor = 1 / (1 + np.exp(-found[0].double().numpy() @ weight.T))
    return factor, pl.read_parquet(files)["segment:device"].to_numpy()


def test_gates_of_a_real_run_are_written_beside_its_evaluation(trained: Callable[[str], Verb]) -> None:
    verb = trained("gdcn")
    with console.capture() as said:
        folder = Path(verb("evaluate")["run"])
    assert {path.name for path in (folder / "evaluation").glob("*.json")} == {"gates.json", "test.json", "valid.json"}
    seen = json.loads((folder / "evaluation" / "gates.json").read_text(encoding="utf-8"))
    step = json.loads((folder / "evaluation" / "valid.json").read_text(encoding="utf-8"))["step"]
    assert (seen["split"], seen["num_rows"], seen["step"], seen["fields"]) == ("valid", 140, step, FIELDS)
    factor, device = factors_by_hand(of_run(verb), "valid")
    gate = seen["gates"][0]
    assert gate["name"] == "body.cross.layers.0.gate"
    columns = {"user": slice(0, 4), "item": slice(4, 6), "price": slice(6, 10)}
    for line in gate["fields"]:
        own = factor[:, columns[line["field"]]]
        assert line["mean"] == pytest.approx(own.mean(), abs=1e-6)
        assert line["std"] == pytest.approx(math.sqrt(own.var(axis=0).mean()), abs=1e-6)
    for line in gate["segments"]["device"]["lines"]:
        rows = device == line["value"]
        assert line["num_rows"] == rows.sum()
        expected = [factor[rows][:, columns[name]].mean() for name in FIELDS]
        assert line["means"] == pytest.approx(expected, abs=1e-6)
    assert [layer["name"] for layer in seen["cross"]] == ["body.cross.layers.0", "body.cross.layers.1"]
    saturated = sum(gate["saturated"] for gate in seen["gates"]) / 2
    assert f"gates: 2 in 1 slot, {saturated:.1%} saturated, 0 dead\n" in said.get()


def test_of_a_long_split_some_batches_are_seen_with_their_own_segments(
    trained: Callable[[str], Verb], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb = trained("gdcn")
    verb("evaluate")
    restored = of_run(verb)
    factor, device = factors_by_hand(restored, "valid")
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 9)  # 140 rows are 16 batches, the last one of 5 rows
    scored = pl.DataFrame({"segment:device": device})
    seen = evaluation.observed(restored, scored, split="valid")
    rows = [row for row in range(140) if row // 9 in (0, 5, 10, 15)]
    assert seen["num_rows"] == len(rows) == 32
    gate = seen["gates"][0]
    assert gate["mean"] == pytest.approx(factor[rows].mean(), abs=1e-6)
    for line in gate["segments"]["device"]["lines"]:
        own = [row for row in rows if device[row] == line["value"]]
        assert line["num_rows"] == len(own)
        assert line["means"][0] == pytest.approx(factor[own][:, :4].mean(), abs=1e-6)


def test_scores_are_those_of_a_model_that_nobody_watched(
    trained: Callable[[str], Verb], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb = trained("gdcn")
    place = Path(verb("evaluate")["run"]) / "evaluation"
    watched = [pl.read_parquet(place / f"{split}.parquet") for split in ("valid", "test")]
    monkeypatch.setattr(evaluation, "observed", lambda *_, **__: {"gates": [], "cross": []})
    verb("evaluate")
    plain = [pl.read_parquet(place / f"{split}.parquet") for split in ("valid", "test")]
    assert all(one.equals(other) for one, other in zip(watched, plain, strict=True))
    assert not (place / "gates.json").exists()


def test_a_network_without_gates_leaves_no_file_and_removes_an_older_one(trained: Callable[[str], Verb]) -> None:
    verb = trained("dnn")
    place = Path(verb("evaluate")["run"]) / "evaluation" / "gates.json"
    assert not place.exists()
    place.write_text("{}", encoding="utf-8")
    with console.capture() as said:
        verb("evaluate")
    assert not place.exists()
    assert "gates:" not in said.get()
    assert "<h2>Gates</h2>" not in Path(verb("report")["report"]).read_text(encoding="utf-8")


def test_cross_layers_without_gates_are_shown_as_such(trained: Callable[[str], Verb]) -> None:
    verb = trained("dcn_v2")
    with console.capture() as said:
        folder = Path(verb("evaluate")["run"])
    assert "gates:" not in said.get()
    seen = json.loads((folder / "evaluation" / "gates.json").read_text(encoding="utf-8"))
    assert (seen["gates"], seen["num_rows"]) == ([], 0)
    text = Path(verb("report")["report"]).read_text(encoding="utf-8")
    assert "<h2>Crosses</h2>" in text
    assert "<h2>Gates</h2>" not in text
    assert "Rows looked at" not in text


def test_experts_of_a_real_run_reach_the_page(trained: Callable[[str], Verb]) -> None:
    verb = trained("mixture")
    with console.capture() as said:
        folder = Path(verb("evaluate")["run"])
    assert "gates: 1 in 1 slot, 0 of 3 experts unused\n" in said.get()
    (gate,) = json.loads((folder / "evaluation" / "gates.json").read_text(encoding="utf-8"))["gates"]
    assert sum(gate["load"]) == pytest.approx(1.0)
    text = Path(verb("report")["report"]).read_text(encoding="utf-8")
    for shown in ("<h3>Experts</h3>", "gate, softmax gate", f"<td>{gate['load'][2]:.3f}</td>", "<h3>By device</h3>"):
        assert shown in text


class Recorder:
    """A tracker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def start(self, *, run_name: str, params: Any, tags: Any, resume: bool = False) -> None:
        self.told.append(("start", run_name, dict(params), dict(tags), resume))

    def metrics(self, values: dict[str, float | None], *, step: int) -> None:
        self.told += [("metric", name, value, step) for name, value in values.items()]

    def figure(self, figure: Figure, *, name: str) -> None:
        assert isinstance(figure, Figure)
        self.told.append(("figure", name))

    def artifact(self, path: Path, *, folder: str = "") -> None:
        assert path.is_file()
        self.told.append(("artifact", path.name, folder))

    def end(self, status: str = "FINISHED") -> None:
        self.told.append(("end", status))


def test_figures_and_page_are_logged_in_the_runs_own_record(
    trained: Callable[[str], Verb], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, tracker = trained("gdcn"), Recorder()
    monkeypatch.setattr(evaluate, "open_tracker", lambda *_, **__: tracker)
    monkeypatch.setattr(report, "open_tracker", lambda *_, **__: tracker)
    folder = Path(verb("evaluate")["run"]) / "evaluation"
    drawn = [name for kind, name, *_ in tracker.told if kind == "figure"]
    assert drawn[2:] == [
        *("gates_information_gate_order_2", "gates_information_gate_order_3"),
        *("cross_cross_layers_0", "cross_cross_layers_1"),
        *drawn[6:],
    ]
    step = json.loads((folder / "gates.json").read_text(encoding="utf-8"))["step"]
    assert ("metric", "gates/dead", 0, step) in tracker.told
    tracker.told.clear()
    verb("report")
    assert tracker.told == [
        ("start", "gdcn", {}, {}, True),
        ("artifact", "index.html", "report"),
        ("end", "FINISHED"),
    ]
    tracker.told.clear()
    shutil.rmtree(folder)  # a run whose training may still go on
    verb("report")
    assert tracker.told == []


def test_the_headline_weighs_gates_by_their_coordinates() -> None:
    def gate(slot: str, **values: Any) -> dict[str, Any]:
        return {"slot": slot, **values}

    report = {
        "gates": [
            gate("field", num_coordinates=3, saturated=0.5, dead=1),
            gate("interaction", num_coordinates=1, saturated=0.1, dead=0),
            gate("interaction", num_coordinates=96, saturated=None, dead=7),
            gate("expert", num_experts=4, unused=[0, 2], entropy=0.5),
            gate("expert", num_experts=1, unused=[], entropy=None),
        ]
    }
    found = headline(report)
    assert found.saturated == pytest.approx((3 * 0.5 + 0.1) / 4)
    assert (found.num_coordinates, found.dead, found.entropy) == (100, 8, 0.5)
    assert str(found) == "5 in 3 slots, 40.0% saturated, 8 dead, 2 of 5 experts unused"
    nothing = headline({"gates": [gate("residual", num_coordinates=1, saturated=None, dead=1)]})
    assert str(nothing) == "1 in 1 slot, 1 dead"


def test_the_figures_of_several_kinds_have_names_of_their_own() -> None:
    def gate(name: str, kind: str) -> dict[str, Any]:
        lines = [{"field": field, "mean": 0.4, "std": 0.1} for field in FIELDS]
        return {"name": name, "kind": kind, "slot": "field", "bounds": None, "neutral": 1.0, "fields": lines}

    gates = [*(gate(f"body.a.{layer}", "LinearFieldGate") for layer in range(3)), gate("body.b.0", "ContextGate")]
    drawn = gate_figures({"fields": FIELDS, "gates": gates, "cross": []})
    assert list(drawn) == ["gates_linear_field_gate", "gates_context_gate_1"]
    labels = [label.get_text() for label in drawn["gates_linear_field_gate"].axes[0].get_yticklabels()]
    assert labels == ["layer 1", "layer 2", "layer 3"]


@pytest.mark.parametrize(
    ("count", "names", "maps"),
    [
        (1, ["gates_information_gate"], 0),
        (2, ["gates_information_gate_layer_1", "gates_information_gate_layer_2"], 0),
        (3, ["gates_information_gate"], 1),
    ],
)
def test_page_and_record_show_a_family_alike(count: int, names: list[str], maps: int) -> None:
    seen = some_gates()
    seen |= {"gates": seen["gates"][:count], "cross": []}
    assert list(gate_figures(seen)) == names
    text = "".join(gate_section(seen).parts)
    assert text.count('aria-label="InformationGate by layer and field"') == maps
    assert text.count("Each layer with its spread") == maps
    for layer in range(count):
        assert text.count(f'aria-label="Fields of body.cross.layers.{layer}.gate"') == 1


def test_the_notes_say_what_is_counted_and_that_values_were_left_out() -> None:
    seen = some_gates()
    text = "".join(gate_section(seen).parts)
    for note in (
        "Saturated: within 1.8 % of an end of its range",
        "Near zero: smaller than 0.001, whatever the sign, of a factor without bounds.",
        "Dead: below 1 % of the neutral factor on every row.",
        "Unused: below 1 % of an equal share on every row.",
    ):
        assert text.count(note) == 1
    assert "values with most rows" not in text
    for gate in seen["gates"]:
        for segment in gate["segments"].values():
            segment["num_values"] = 1_200
    assert "deeper the farther off. The 2 values with most rows, of 1,200.</p>" in "".join(gate_section(seen).parts)
    seen["gates"] = seen["gates"][:3]  # of bounded factors alone
    assert "Near zero:" not in "".join(gate_section(seen).parts)
