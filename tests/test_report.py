"""The report page, its figures and its building blocks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ctrgate import figures, page
from ctrgate.errors import ConfigError, DataError
from ctrgate.metrics.summary import evaluate_scores
from ctrgate.report import Config, run

VOID = {"meta", "br", "img", "hr", "input", "link"}


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


def test_the_page_tells_the_run_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    result = run(Config(name="small", runs=str(tmp_path)))
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


def test_ids_on_the_page_are_unique_and_every_reference_is_met(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    run(Config(name="small", runs=str(tmp_path)))
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_a_run_before_its_first_evaluation_has_a_page(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    for path in (folder / "evaluation").iterdir():
        path.unlink()
    assert run(Config(name="small", runs=str(tmp_path)))["splits"] == []
    assert "Learning curve" in (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_rows_of_one_class_are_reported_without_auc(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    result = evaluate_scores(np.zeros(50), np.linspace(-3, 0, 50), segments={"day": np.arange(50) % 2})
    (folder / "evaluation" / "test.json").write_text(json.dumps(result), encoding="utf-8")
    assert run(Config(name="small", runs=str(tmp_path)))["auc"]["value"] is None
    assert "n/a" in (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_a_missing_or_empty_run_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run"):
        run(Config(name="none", runs=str(tmp_path)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="run `ctrgate train` first"):
        run(Config(name="empty", runs=str(tmp_path)))
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.jsonl", '{"step": 1}\n{"step"\n', "line 2 is not valid JSON"),
        ("evaluation/test.json", '{"auc": ', "test.json is not valid JSON"),
        ("evaluation/test.json", "[]", "must hold a JSON object"),
        ("evaluation/test.json", '{"num_rows": 1}', "evaluation/test.json lacks 'auc'"),
    ],
)
def test_a_damaged_file_is_named_and_no_page_written(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = a_run(tmp_path)
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        run(Config(name="small", runs=str(tmp_path)))
    assert not (folder / "report" / "index.html").exists()


def test_the_report_imports_no_torch_and_no_pyplot() -> None:
    code = "import sys, ctrgate.report; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_figure_as_svg_is_xml_in_the_pages_colours_and_always_the_same() -> None:
    points = {"false_positive_rate": [0, 0.5, 1], "true_positive_rate": [0, 0.8, 1]}
    svg = figures.to_svg(figures.roc(points, auc=0.65), title='ROC of "a" & <b>')
    ET.fromstring(svg)
    assert "AUC 0.65000" in svg
    assert "var(--line)" in svg
    assert "#2563c9" not in svg
    assert svg == figures.to_svg(figures.roc(points, auc=0.65), title='ROC of "a" & <b>')


def test_figures_take_what_there_is(tmp_path: Path) -> None:
    one_line = figures.learning_curve([{"step": 5.0, "epoch": 1.0, "train/loss": 0.5}])
    no_auc = figures.learning_curve([{"step": 5.0, "train/loss": 0.5}, {"step": 9.0, "train/loss": None}])
    rare = {"predicted": [1e-4, 1e-2], "observed": [2e-4, 9e-3], "low": [1e-4, 8e-3], "high": [3e-4, 1e-2]}
    none_seen = {"predicted": [0.5], "observed": [0.0], "low": [0.0], "high": [0.1]}
    drawn = (one_line, no_auc, figures.reliability(rare), figures.reliability(none_seen))
    for index, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{index}.png")
    assert len(no_auc.axes) == 1
    assert figures.reliability(rare).axes[0].get_xscale() == "log"
    assert figures.reliability(none_seen).axes[0].get_xscale() == "linear"


def test_the_learning_curve_marks_the_best_epoch() -> None:
    rows = [
        {"step": 10.0 * epoch, "epoch": float(epoch), "valid/auc": auc} for epoch, auc in ((1, 0.7), (2, 0.9), (3, 0.8))
    ]
    figure = figures.learning_curve(rows)
    assert "0.90000 at epoch 2" in figure.axes[1].get_title(loc="left")


def test_text_is_escaped_and_html_is_not_escaped_twice() -> None:
    assert "&lt;i&gt;" in page.table(["a"], [["<i>"]])
    bar = page.interval_bar(0.2, 0.3, 0.4, start=0.0, end=1.0)
    assert bar in page.table(["a"], [[bar]])
    assert "M20.00 5H40.00" in bar
