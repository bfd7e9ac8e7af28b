"""The report page and its building blocks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctrgate import page, report
from ctrgate.errors import ConfigError, DataError
from ctrgate.metrics.summary import evaluate_scores
from ctrgate.report import Config, run
from ctrgate.tracking import TrackingConfig

VOID = {"meta", "br", "img", "hr", "input", "link"}
FIELDS = ["user", "<i>item</i>", "what_this_row_shows_of_the_page"]
EMPTY_SPLIT = json.dumps(
    {
        "auc": {"value": None, "low": None, "high": None},
        **{"log_loss": 0.1, "calibration_ratio": None, "num_rows": 0, "num_positives": 0},
    }
)


def config(tmp_path: Path, *, name: str = "small") -> Config:
    """Of a run in a folder; nothing is logged."""
    return Config(name=name, runs=str(tmp_path), tracking=TrackingConfig(enabled=False))


class Balanced(HTMLParser):
    """Fails where an element is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def a_run(tmp_path: Path, *, name: str = "small") -> Path:
    """The files that training and evaluation leave."""
    folder = tmp_path / name
    (folder / "evaluation").mkdir(parents=True)
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1, 2000)
    labels = rng.random(2000) < 1 / (1 + np.exp(-logits))
    segments = {"country": rng.choice(["de", "<b>fr</b>", "no clicks"], 2000, p=[0.6, 0.39, 0.01])}
    labels[segments["country"] == "no clicks"] = False
    for split, rows in (("valid", 500), ("test", 2000)):
        cut = {key: values[:rows] for key, values in segments.items()}
        result = evaluate_scores(labels[:rows], logits[:rows], groups=np.arange(rows) % 50, segments=cut)
        (folder / "evaluation" / f"{split}.json").write_text(json.dumps(result), encoding="utf-8")
    lines = [
        {
            "step": 10 * epoch,
            "epoch": epoch,
            "train/loss": 1 / epoch,
            "valid/auc": 0.7 + epoch / 50,
            "rows_per_second": 9e3,
        }
        for epoch in range(1, 4)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "tra'
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    (folder / "config.yaml").write_text("tracking:\n  uri: http://ann:s3cret@host\n", encoding="utf-8")
    (folder / "environment.json").write_text('{"seed": 7, "versions": {"torch": "2.13.0"}}', encoding="utf-8")
    return folder


def some_gates() -> dict[str, Any]:
    """What ``evaluate`` might have seen: a gate per cross layer, a number beside a block, experts, segments."""

    def statistics(mean: float, *, bounded: bool = True, number: int = 4) -> dict[str, Any]:
        ends = {"low": 0.125, "high": 0.25, "saturated": 0.375, "near_zero": None}
        return {
            "num_coordinates": number,
            "mean": mean,
            "std": 0.125,
            "between": 0.0625,
            **(ends if bounded else {**dict.fromkeys(ends), "near_zero": 0.1875}),
            "dead": 1,
        }

    def segment(*means: list[float]) -> dict[str, Any]:
        values = ("phone", "<b>desk</b>")
        lines = [{"value": v, "num_rows": 5, "means": m} for v, m in zip(values, means, strict=True)]
        return {"device": {"num_values": 2, "lines": lines}}

    head = {"kind": "InformationGate", "slot": "interaction", "bounds": [0, 1], "neutral": 0.5, "num_rows": 10}
    layers = [
        {
            "name": f"body.cross.layers.{layer}.gate",
            **head,
            **statistics(0.5, number=12),
            "fields": [{"field": name, **statistics(0.4 + 0.0625 * layer)} for name in FIELDS],
            "segments": segment([0.2, 0.4, 0.4], [0.6, 0.4, 0.4]),
        }
        for layer in range(3)
    ]
    alpha = {"name": "body.residual", "kind": "ReZero", "slot": "residual", "bounds": None, "neutral": 1.0}
    alpha |= {"num_rows": 10, **statistics(0.3, bounded=False, number=1), "segments": {}}
    experts = {
        "name": "body.gate",
        "kind": "NoisyTopK",
        "slot": "expert",
        "num_rows": 10,
        "num_experts": 2,
        "load": [1.0, 0.0],
        "first": [1.0, 0.0],
        "nonzero": [1.0, 0.0],
        "entropy": 0.4375,
        "unused": [1],
        "segments": segment([1.0, 0.0], [1.0, 0.0]),
    }
    importance = [[1.0, 0.5, 0.25], [2.75, 0.5, 0.25], [0.125, 0.5, 0.25]]
    cross = [
        {"name": f"body.cross.layers.{layer}", "kind": "GatedCross", "gated": True, "importance": importance}
        for layer in range(3)
    ]
    seen = {"step": 30, "split": "valid", "num_rows": 10, "fields": FIELDS}
    return {**seen, "gates": [*layers, alpha, experts], "cross": cross}


def add_gates(folder: Path) -> None:
    """Leave what gates, selection and narrower tables leave."""
    tables = [
        {"table": "user", "values": 950, "kept": 380, "unknown_kept": False},
        {"table": "<i>item</i>", "values": 0, "kept": 0, "unknown_kept": True},
    ]
    selection = {"form": "continuation", "penalty": 1e-6, "feature_ratio": 0.3125, "search_epochs": 5}
    fields = [
        {"field": "user", "rows": 957, "before": 3, "after": 2, "explained": [0.5, 0.96875, 1.0]},
        {"field": "<i>item</i>", "rows": 4, "before": 3, "after": 0, "explained": []},
    ]
    widths = {"explained": 0.9375, "parameters_before": 53990, "parameters_after": 20000, "fields": fields}
    (folder / "evaluation" / "gates.json").write_text(json.dumps(some_gates()), encoding="utf-8")
    (folder / "selection.json").write_text(json.dumps(selection | {"tables": tables}), encoding="utf-8")
    (folder / "widths.json").write_text(json.dumps(widths), encoding="utf-8")


def test_the_page_tells_the_run_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    result = run(config(tmp_path))
    assert result["splits"] == ["test", "valid"]
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert result["report"] == str(folder / "report" / "index.html")
    checker = Balanced()
    checker.feed(text)
    assert checker.open == []
    truth = json.loads((folder / "evaluation" / "test.json").read_text(encoding="utf-8"))
    auc = truth["auc"]
    for shown in (f"{auc['value']:.5f}", f"[{auc['low']:.5f}, {auc['high']:.5f}]", "torch 2.13.0", "9,000", "2,000"):
        assert shown in text
    assert "<script" not in text
    outside = [place for place in re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', text) if place[0] != "#"]
    assert outside == []
    assert "s3cret" not in text
    assert "<b>fr</b>" not in text
    assert "&lt;b&gt;fr" in text


@pytest.mark.parametrize("gated", [False, True])
def test_ids_on_the_page_are_unique_and_every_reference_is_met(tmp_path: Path, gated: bool) -> None:
    folder = a_run(tmp_path)
    if gated:
        add_gates(folder)
    run(config(tmp_path))
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_gates_kept_values_and_widths_are_on_the_page_and_need_nothing_from_outside(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    add_gates(folder)
    assert run(config(tmp_path))["splits"] == ["test", "valid"]  # what was seen of gates is no split
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    checker = Balanced()
    checker.feed(text)
    assert checker.open == []
    assert "<script" not in text
    outside = [place for place in re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]+)', text) if place[0] != "#"]
    assert outside == []
    assert "<i>item" not in text
    assert "<b>desk" not in text
    titles = re.findall(r"<h[23]>([^<]*)", text)
    for title in (
        "Gates",
        "Information gate, by field",
        "Experts",
        "Which field crosses which",
        "Values kept",
        "Widths",
    ):
        assert title in titles
    # By hand: 37.5 % of the bounded factors; a dead one in each of four gates of 12, 12, 12 and 1 coordinates.
    for tile in (("5", "slot: expert, interaction, residual"), ("37.5%", ""), ("4", "of 37 coordinates")):
        assert f'<div class="value">{tile[0]}</div><div class="detail">{tile[1]}' in text
    assert '<div class="value">1 of 2</div><div class="detail">entropy of the weights 0.44' in text
    assert "order 2: &lt;i&gt;item&lt;/i&gt; by user 2.75" in text
    assert re.findall(r"order \d(?=: )", text) == ["order 2", "order 3", "order 4"]
    assert "the weakest 0.12" in text
    assert "380" in text
    assert "40.0%" in text
    assert '<div class="value">31.2%</div>' in text
    assert '<div class="value">20,000</div><div class="detail">of 53,990, 37.0%' in text
    assert "<td>96.9%</td>" in text
    # Experts that have the same load in each segment need no map of it.
    drawn = re.findall(r'aria-label="([^"]* by device)"', text)
    assert drawn == [f"body.cross.layers.{layer}.gate by device" for layer in range(3)]


def test_a_run_without_gates_says_nothing_of_them(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    run(config(tmp_path))
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h[23]>([^<]*)", text)
    assert "On the test rows" in titles
    assert not {"Gates", "Crosses", "Experts", "Values kept", "Widths"} & set(titles)


def test_a_run_before_its_first_evaluation_has_a_page_and_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(report.console, "print", lambda text, **_: said.append(str(text)))
    folder = a_run(tmp_path)
    run(config(tmp_path))
    assert not any("not evaluated yet" in line for line in said)
    for path in (folder / "evaluation").iterdir():
        path.unlink()
    assert run(config(tmp_path))["splits"] == []
    assert "Learning curve" in (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert any("not evaluated yet, so the page has no metrics; run `ctrgate evaluate`" in line for line in said)


def test_rows_of_one_class_are_reported_without_auc(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    result = evaluate_scores(np.zeros(50), np.linspace(-3, 0, 50), segments={"day": np.arange(50) % 2})
    (folder / "evaluation" / "test.json").write_text(json.dumps(result), encoding="utf-8")
    assert run(config(tmp_path))["auc"]["value"] is None
    assert "n/a" in (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_a_missing_or_empty_run_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run"):
        run(config(tmp_path, name="none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="run `ctrgate train` first"):
        run(config(tmp_path, name="empty"))
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.jsonl", '{"step": 1}\n{"step"\n', "line 2 is not valid JSON"),
        ("evaluation/test.json", '{"auc": ', "test.json is not valid JSON"),
        ("evaluation/test.json", "[]", "must hold a JSON object"),
        ("evaluation/test.json", '{"num_rows": 1}', "evaluation/test.json lacks 'auc'; .* `ctrgate evaluate`"),
        ("evaluation/test.json", '{"auc": 3}', "evaluation/test.json is not what it should be .* `ctrgate evaluate`"),
        ("evaluation/test.json", '{"auc": {}, "roc": 3}', "evaluation/test.json lacks 'value'; .* `ctrgate evaluate`"),
        (
            "evaluation/test.json",
            '{"ranking": [1]}',
            "evaluation/test.json is not what it should be .*`ctrgate evaluate`",
        ),
        ("evaluation/test.json", '{"ranking": {"x": 1}}', "evaluation/test.json is not what it should be"),
        ("evaluation/test.json", EMPTY_SPLIT, "evaluation/test.json is not what it should be .*division by zero"),
        ("evaluation/gates.json", '{"gates": [3], "cross": []}', "evaluation/gates.json is not what it should be"),
        ("evaluation/gates.json", '{"gates": ', "gates.json is not valid JSON .* `ctrgate evaluate`"),
        ("evaluation/gates.json", "{}", "evaluation/gates.json lacks 'gates'; .* `ctrgate evaluate`"),
        ("evaluation/gates.json", '{"gates": 3}', "evaluation/gates.json is not what it should be"),
        ("selection.json", '{"tables": []}', "selection.json lacks 'penalty'; .* `ctrgate train`"),
        ("widths.json", "[]", "must hold a JSON object"),
    ],
)
def test_a_damaged_file_is_named_and_no_page_written(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = a_run(tmp_path)
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        run(config(tmp_path))
    assert not (folder / "report" / "index.html").exists()


def test_each_section_says_of_which_checkpoint_it_is(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    add_gates(folder)  # of step 30
    for split in ("valid", "test"):
        path = folder / "evaluation" / f"{split}.json"
        path.write_text(json.dumps({"step": 30, **json.loads(path.read_text(encoding="utf-8"))}), encoding="utf-8")
    run(config(tmp_path))
    page_of_one = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert page_of_one.count("Checkpoint of step 30.</p>") == 3
    assert "Do not compare" not in page_of_one
    path.write_text(path.read_text(encoding="utf-8").replace('"step": 30', '"step": 2000'), encoding="utf-8")
    run(config(tmp_path))
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert text.count("Checkpoint of step 2,000. Do not compare the sections") == 1
    assert text.count("different checkpoints (test 2,000, valid 30, gates 30)") == 3


def test_the_report_imports_no_torch_and_no_pyplot() -> None:
    code = "import sys, ctrgate.report; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_text_is_escaped_and_html_is_not_escaped_twice() -> None:
    assert "&lt;i&gt;" in page.table(["a"], [["<i>"]])
    bar = page.interval_bar(0.2, 0.3, 0.4, start=0.0, end=1.0)
    assert bar in page.table(["a"], [[bar]])
    assert "M20.00 5H40.00" in bar
