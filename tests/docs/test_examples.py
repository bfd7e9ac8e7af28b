"""The examples of the pages, run in their order, each page in a folder with the README's table, run file and runs."""

from __future__ import annotations

import datetime
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ctrgate import cli
from docs.site.blocks import Block, blocks_of
from docs.site.generated import DOCS
from docs.site.pages import ROOT

SLOW = {"reproduction.md"}  # a verb that runs three others as processes
OWN = {"adding.md"}  # its examples need the code that it prints, see test_adding.py


def pages() -> Iterator[Any]:
    """Those with an example."""
    for path in sorted(DOCS.rglob("*.md")):
        place = path.relative_to(DOCS).as_posix()
        if place not in OWN and any(block.mark == "example" for block in blocks_of(path.read_text())):
            yield pytest.param(path, id=place, marks=[pytest.mark.slow] if place in SLOW else [])


RULES = {"calibration": None, "scores": None, "log_loss": None, "segments": None, "auc": {"margin": 0.5}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, clicks: Callable[[int], pl.DataFrame]) -> Path:
    """What pages begin with: the table, ``clicks.yaml`` with its run, and the runs of ``old.yaml`` and ``new.yaml``."""
    folder = tmp_path_factory.mktemp("world")
    rows = clicks(3_400)
    rows.head(3_000).write_parquet(folder / "clicks.parquet")
    rows.tail(400).drop("clicked").write_parquet(folder / "new_rows.parquet")
    day = rows.filter(pl.col("shown_at").dt.date() == datetime.date(2025, 1, 11))
    for place in ("days/2025-01-11/rows.parquet", "day.parquet"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        day.write_parquet(folder / place)
    readme = (ROOT / "README.md").read_text()
    run = yaml.safe_load(next(block.text for block in blocks_of(readme) if block.mark == "clicks.yaml"))
    for name, epochs in (("clicks", 3), ("old", 1), ("new", 3)):
        values = {**run, "name": name, "train": {**run["train"], "epochs": epochs}, "promote": {"rules": RULES}}
        values["tracking"] = {"timeout_seconds": 60}  # busy machines write slowly to the store
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in ("prepare clicks", "train clicks", "train old", "train new"):
            verb, name = command.split()
            ctrgate([verb, f"{name}.yaml"])
        for name in ("clicks", "old", "new"):
            ctrgate(["evaluate", f"{name}.yaml"])
            ctrgate(["export", f"{name}.yaml"])
        ctrgate(["promote", "old.yaml"])
        for name, side in (("old", "a"), ("new", "b")):
            shutil.copy(f"runs/{name}/evaluation/test.parquet", f"{side}.parquet")
    return folder


def ctrgate(arguments: list[str], *, expected: int = 0) -> None:
    assert cli.main(arguments) == expected, f"ctrgate {shlex.join(arguments)} does not end with {expected}"


def run(block: Block) -> None:
    """Do what a block says, in the working folder."""
    if block.file is not None:
        Path(block.file).parent.mkdir(parents=True, exist_ok=True)
        Path(block.file).write_text(block.text)
    elif block.mark == "part":
        values = yaml.safe_load(Path("clicks.yaml").read_text()) | yaml.safe_load(block.text)
        Path("clicks.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    elif block.mark == "example" and block.language == "python":
        exec(compile(block.text, "the example", "exec"), {"__name__": "example"})  # noqa: S102
    elif block.mark == "example":
        for line in block.text.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line, comments=True) or [""]
            told = re.search(r"#.*exit code (\d+)", line)
            if program == "ctrgate":
                ctrgate(arguments, expected=int(told[1]) if told else 0)
            elif program:
                python = program == "python"
                subprocess.run([sys.executable if python else program, *arguments], check=True)


@pytest.mark.parametrize("path", list(pages()))
def test_the_examples_of_a_page_run(path: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(world, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    for block in blocks_of(path.read_text()):
        run(block)
