"""An environment with the packages of serving/requirements.txt alone scores each network as the one that trained it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from ctrgate import export, prepare, score, train
from ctrgate.config import dump, load
from ctrgate.models.network import task_of
from tests.models.every_network import CONFIGS, variants
from tests.test_score_items import run_file as run_file_of_items

ROOT = Path(__file__).parents[2]
UNWANTED = ("torchrec", "fbgemm_gpu", "ray", "mlflow", "sklearn", "matplotlib")

EVERY_JOB = """
import importlib.util, json, sys
from ctrgate import score
from ctrgate.config import load
unwanted = [name for name in sys.argv[1].split(",") if importlib.util.find_spec(name)]
for run_file, into in json.loads(sys.stdin.read()):
    score.run(load(run_file, score.Config, [f"score.into={into}"]))
print(json.dumps({"unwanted": unwanted, "place": importlib.util.find_spec("ctrgate").origin}))
"""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment made as serving/README.md says."""
    folder = tmp_path_factory.mktemp("serving")
    source = folder / "source"
    source.mkdir()
    shutil.copytree(ROOT / "ctrgate", source / "ctrgate", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    for packages in (["-r", str(ROOT / "serving" / "requirements.txt")], ["--no-deps", str(source)]):
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True, check=False
        )
        if done.returncode and "Could not find a version" in done.stderr:
            pytest.skip(f"no package index here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr[-3000:]
    return python


def exported(folder: Path, run: Any) -> list[Path]:
    """A run file for every network, each trained for an epoch, exported and scored."""
    files = []
    for config in CONFIGS:
        name = config().name
        home = folder / name
        home.mkdir()
        if task_of(config()) == "next_item":
            looks_ahead = {"positions": "last", "prefixes": 2} if name == "sigma" else {}
            values = yaml.safe_load(run_file_of_items(home, **looks_ahead).read_text())
        else:
            values = yaml.safe_load(run.yaml.read_text())
            values["score"] = {"files": str(home.parent / "rows.parquet"), "into": str(home / "scores")}
        small = dump(dataclasses.replace(variants(config)[0]))
        values |= {"name": name, "runs": str(folder / "runs"), "model": {**small, "name": name}}
        files.append(home / "run.yaml")
        files[-1].write_text(yaml.safe_dump(values))
        for verb in (prepare, train, export, score):
            verb.run(load(files[-1], verb.Config))
    return files


@pytest.mark.slow
def test_every_network_scores_there_to_the_last_bit_as_here(serving: Path, dense_run: Any, tmp_path: Path) -> None:
    dense_run.rows[540:].write_parquet(tmp_path / "rows.parquet")
    jobs = [(str(path), str(path.parent / "there")) for path in exported(tmp_path, dense_run)]
    done = subprocess.run(
        [serving, "-c", EVERY_JOB, ",".join(UNWANTED)],
        input=json.dumps(jobs),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["unwanted"] == []
    assert str(ROOT) not in told["place"]
    assert len(jobs) == len(CONFIGS)
    for path, there in jobs:
        ours, theirs = (pl.read_parquet(Path(place) / "*.parquet") for place in (Path(path).parent / "scores", there))
        assert ours.height > 30, path
        assert ours.equals(theirs), path
