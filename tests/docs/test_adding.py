"""The page about adding: what it prints is put into a copy of the code, which keeps its contracts and runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([\w-]+) (\S+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
CONTRACTS = ("models/test_contract.py", "models/test_contract_of_forms.py", "layers/test_gate_contract.py")
KINDS = "features/test_every_kind.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code and its contract tests, with all that the page adds, and a table of clicks."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "ctrgate", folder / "ctrgate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in (*CONTRACTS, KINDS, "models/every_network.py"):
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    for language, name, text in BLOCKS:
        if language == "python-file":
            assert not (folder / name).exists(), f"{name} is there already"
            (folder / name).write_text(text, encoding="utf-8")
        elif language == "diff":
            change(folder / name, text)
        elif language == "yaml":
            (folder / name).write_text(text, encoding="utf-8")
    clicks(400).write_parquet(folder / "clicks.parquet")
    return folder


def change(path: Path, text: str) -> None:
    """Apply a printed difference; what it replaces must be there once."""
    lines = text.splitlines()
    assert {line[:1] for line in lines} <= {"+", "-", " ", ""}
    before, after = ("\n".join(line[1:] for line in lines if not line.startswith(other)) for other in "+-")
    known = path.read_text(encoding="utf-8")
    assert f"\n{known}".count(f"\n{before}\n") == 1, f"{path.name} has not once:\n{before}"
    path.write_text(f"\n{known}".replace(f"\n{before}\n", f"\n{after}\n")[1:], encoding="utf-8")


def clicks(num_rows: int) -> pl.DataFrame:
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": random.integers(20, size=num_rows),
            "item": [f"i{number}" for number in random.integers(15, size=num_rows)],
            "price": [None if random.random() < 0.1 else price for price in random.uniform(0, 40, size=num_rows)],
            "clicked": random.integers(2, size=num_rows),
        }
    )


VERBS = """
import json, sys
from ctrgate import cli
for command in json.loads(sys.argv[1]):
    assert command[0] == "ctrgate"
    assert cli.main(command[1:]) == 0, command
"""


def run(folder: Path, *arguments: str) -> str:
    """What Python says that is run on the copy; it must end well."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{' '.join(arguments)}\n{ended.stdout[-4_000:]}\n{ended.stderr[-4_000:]}"
    return ended.stdout


def test_what_is_printed_is_written_as_the_code_is(copy: Path) -> None:
    names = sorted({name for language, name, _ in BLOCKS if language in ("python-file", "diff")})
    run(copy, "-m", "ruff", "check", *names)
    run(copy, "-m", "ruff", "format", "--check", *names)


@pytest.mark.slow
def test_the_contracts_cover_what_is_added_without_being_told(copy: Path) -> None:
    chosen = "TwoTowers or FMConfig or SizeGate or Sparsemax"
    tests = [f"tests/{name}" for name in CONTRACTS]
    said = run(copy, "-m", "pytest", *tests, "-k", chosen, "-v", "-p", "no:cacheprovider")
    passed = re.findall(r"::(test_\w+)\[(.*?)\] PASSED", said)
    for added in ("TwoTowers", "FMConfig", "SizeGate", "Sparsemax"):
        covering = {test for test, case in passed if added in case}
        assert len(covering) >= 8, (added, covering)


def test_the_kind_keeps_to_what_every_kind_keeps_to(copy: Path) -> None:
    said = run(copy, "-m", "pytest", f"tests/{KINDS}", "-v", "-p", "no:cacheprovider")
    passed = re.findall(r"::(test_\w+)\[band\] PASSED", said)
    assert len(passed) >= 5


def test_the_run_that_is_printed_uses_all_four(copy: Path) -> None:
    (commands,) = (text for language, _, text in BLOCKS if language == "sh")
    run(copy, "-c", VERBS, json.dumps([shlex.split(command) for command in commands.splitlines()]))
    gates = {
        name: {gate["kind"] for gate in json.loads((copy / f"runs/{name}/evaluation/gates.json").read_text())["gates"]}
        for name in ("sizes", "mixed")
    }
    assert gates == {"sizes": {"SizeGate"}, "mixed": {"Sparsemax"}}
    assert (copy / "runs/two_towers/artifact/manifest.json").exists()
    fields = json.loads((copy / "prepared/clicks/manifest.json").read_text())["layout"]["fields"]
    assert [(field["name"], field["kind"]) for field in fields] == [("user", "id"), ("item", "id"), ("price", "id")]
    watched = yaml.safe_load((copy / "expectations/clicks.yaml").read_text())["columns"]["price"]
    assert "bins" in watched, "validation watches it as a number"
    encoded = pl.read_parquet(copy / "prepared/clicks/train/*.parquet")["price"]
    tables = [pl.read_parquet(path) for path in sorted((copy / "prepared/clicks/encoder").glob("*.parquet"))]
    values = dict(tables[2].select("id", "value").iter_rows())
    bands = clicks(400).head(encoded.len())["price"] // 5
    expected = [None if band is None else str(int(band)) for band in bands]
    assert [values[number] for number in encoded] == expected
    assert set(expected) == {None, *"01234567"}


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
