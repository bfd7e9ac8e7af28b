import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from ctrgate import cli
from ctrgate.config import SECTIONS
from ctrgate.contracts import Batch, Ids
from ctrgate.features.layout import Field, Layout
from ctrgate.models.tables import TablesConfig
from ctrgate.training.model import build_model

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([\w-]+) (\S+).*?\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_worked_example_runs_as_it_is_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    clicks: Callable[[int], pl.DataFrame],
):
    monkeypatch.chdir(tmp_path)
    rows = clicks(3_400)
    rows.head(3_000).write_parquet("clicks.parquet")
    new = rows.tail(400).drop("clicked")
    new.write_parquet("new_rows.parquet")
    commands = []
    for language, what, text in BLOCKS:
        if language == "yaml" and what == "clicks.yaml":
            Path(what).write_text(text)
        elif (language, what) == ("sh", "example"):
            for line in text.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "ctrgate"
                assert cli.main(arguments) == 0, f"{line}\n{capfd.readouterr().err}"
                commands.append(arguments[0])
        elif language == "python":
            shown = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
            assert "score" in shown.stdout
    assert commands == ["prepare", "train", "evaluate", "export", "score", "report", "train"]
    scores = pl.read_parquet("scores/clicks/*.parquet")
    assert scores.columns == ["user_id", "item_id", "shown_at", "score", "logit"]
    assert scores["shown_at"].to_list() == new["shown_at"].to_list()
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(commands), "one line of JSON from each verb"
    assert Path("runs/clicks/report/index.html").is_file()
    assert Path("runs/clicks_wide/checkpoints").is_dir()


def test_the_network_that_is_printed_fits_the_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ((name, text),) = [(name, text) for language, name, text in BLOCKS if language == "python-file"]
    (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    config = importlib.import_module(Path(name).stem).GatedSumConfig
    layout = Layout(
        fields=(Field(name="user", kind="id", table="user"), Field(name="price", kind="number")),
        sequences=(),
        tables={"user": 5},
        labels=("click", "buy"),
        roles={},
    )
    rows = Batch(num_rows=3, ids={"user": Ids(values=torch.tensor([2, 3, 4]))}, numbers=torch.ones(3, 1))
    for gated in (True, False):
        model = build_model(config(gated=gated), layout=layout, tables=TablesConfig(dim=4), seed=0).eval()
        logits = model(rows)[0].logits
        assert logits.shape == (3, 2)
        assert logits.isfinite().all()
        fields = torch.randn(3, 2, 4)
        assert torch.equal(model.network.body.gate(fields), fields)  # a new gate changes nothing
    assert f"| {config.__name__}" in README


def test_every_verb_has_its_line():
    assert {f"`{verb}`" for verb in cli.VERBS} <= set(re.findall(r"^\| (`\w+`) \|", README, flags=re.MULTILINE))


def test_every_section_and_file_that_is_named_exists():
    overridden = re.findall(r"(?<=[ `])(\w+)\.\w+=", README)
    assert set(overridden) <= {*SECTIONS, "section"}
    tree = README.partition("## How the code is laid out")[2]
    listed = re.findall(r"(?:^| )((?:\w+/|\w+\.py))(?= |$)", tree.split("```")[1], flags=re.MULTILINE)
    for name in listed:
        assert any((ROOT / part / name).exists() for part in (".", "ctrgate", "tests")), name
    assert len(listed) > 20


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", README, flags=re.MULTILINE)):
        assert f"\n{target}:" in makefile, target


def test_every_folder_of_the_code_is_told():
    tree = README.partition("## How the code is laid out")[2]
    folders = [
        place.name for place in (ROOT / "ctrgate").iterdir() if place.is_dir() and (place / "__init__.py").exists()
    ]
    assert [name for name in folders if f"  {name}/" not in tree] == []


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
