"""One experiment from raw rows to scored rows: prepare, train, evaluate, export, score, report."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ctrgate.config import Place, load, settings
from ctrgate.errors import CtrgateError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.progress import console
from ctrgate.stage import run_as_process

__all__ = ["STAGES", "Stage", "Stopped", "experiment", "main", "run_verb"]

STAGES = ("prepare", "train", "evaluate", "export", "score", "report")
_PLACES = ("report", "into", "artifact", "run", "folder")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A verb that is done.

    Args:
        verb: Which.
        seconds: How long its process ran, start included.
        result: What it says of itself: its line of JSON.
    """

    verb: str
    seconds: float
    result: Mapping[str, Any]


class Stopped(Exception):  # noqa: N818 as SystemExit, which carries the code on
    """A verb ended with another exit code than 0."""

    def __init__(self, verb: str, *, exit_code: int) -> None:
        super().__init__(f"stopped at {verb}, exit code {exit_code}; the same command goes on from there")
        self.exit_code = exit_code


@settings
class _Wanted:
    """What tells which rows are scored."""

    name: str
    runs: Place = "runs"
    dataset: DatasetConfig
    score: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def experiment(run_file: str | Path, *, overrides: Sequence[str] = ()) -> list[Stage]:
    """Run the verbs one after the other, each as a process of its own, so that a stage's memory goes with it.

    Scored are the rows that ``score.files`` names, else the dataset's test files; where there are neither, nothing is.

    Raises:
        Stopped: At the first verb that fails or is stopped; those after it have not begun.
        ConfigError: Where the run file's dataset is not valid.
    """
    wanted = load(run_file, _Wanted, overrides)
    given = wanted.dataset.splits.test if wanted.dataset.splits else ()
    scored = [] if "files" in wanted.score else [f"score.files={json.dumps(given)}"]
    stages = []
    for verb in STAGES:
        if verb == "score" and scored and not given:
            console.print("score: nothing to score; score.files names the raw files that are to be")
            continue
        of_verb = [*overrides, *scored] if verb == "score" else list(overrides)
        stages.append(run_verb(verb, run_file=run_file, overrides=of_verb))
    return stages


def run_verb(verb: str, *, run_file: str | Path, overrides: Sequence[str] = ()) -> Stage:
    """Run ``ctrgate VERB RUN.yaml ...``; its progress goes to stderr, and signals reach it once.

    Raises:
        Stopped: Where it does not end with exit code 0.
    """
    started = time.monotonic()
    ended = run_as_process(verb, run_file, overrides=overrides)
    if ended.exit_code:
        raise Stopped(verb, exit_code=ended.exit_code)
    return Stage(verb=verb, seconds=time.monotonic() - started, result=json.loads(ended.output))


def summary(stages: Sequence[Stage]) -> Table:
    """A line per stage: how long it took, and where its result lies."""
    table = Table("stage", "seconds", "result")
    for stage in stages:
        place = next(stage.result[key] for key in _PLACES if key in stage.result)
        table.add_row(stage.verb, f"{stage.seconds:.1f}", str(place))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m pipelines.experiment RUN.yaml [section.key=value ...]``; the exit code is that of the last verb."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.experiment", description=__doc__)
    parser.add_argument("run_file", metavar="RUN.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="applied for every verb")
    parsed = parser.parse_args(arguments)
    try:
        stages = experiment(parsed.run_file, overrides=parsed.overrides)
    except Stopped as stopped:
        console.print(f"{parsed.run_file}: {stopped}", markup=False)
        return stopped.exit_code
    except CtrgateError as error:
        console.print(str(error), markup=False)
        return error.exit_code
    console.print(summary(stages))
    sys.stdout.write(json.dumps({stage.verb: {"seconds": stage.seconds, **stage.result} for stage in stages}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
