"""CoLLM's MovieLens-1M week by week: a model warm from the week before, one from scratch, and one held fixed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate import figures
from ctrgate.config import load
from ctrgate.files import atomic_file, write_json
from ctrgate.metrics.auc import delong
from ctrgate.metrics.paired import pair
from ctrgate.metrics.paired_auc import paired_auc
from ctrgate.progress import bar

__all__ = ["POLICIES", "main", "write_weeks"]

RUN_FILE = Path(__file__).parents[1] / "configs" / "experiments" / "collm_weeks_din.yaml"
POLICIES = ("warm", "scratch", "fixed")
BEFORE = 10
"""Weeks that come before the first one that is predicted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.rolling [--weeks N] [--into FOLDER]``; run again, it goes on where it was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=__doc__)
    parser.add_argument("--weeks", type=int, default=52, help="how many are predicted")
    parser.add_argument("--into", type=Path, default=Path("runs/rolling"))
    parser.add_argument("--files", type=Path, default=Path("data/collm_weeks"), help="where the weeks' rows lie")
    parser.add_argument("--files-only", action="store_true", help="write these and stop")
    parsed = parser.parse_args(arguments)
    weeks = write_weeks(parsed.files)
    if parsed.files_only:
        return 0
    predicted = weeks[BEFORE : BEFORE + parsed.weeks]
    with bar("weeks", total=len(predicted), unit="weeks") as shown:
        for place, week in enumerate(predicted):
            for policy in POLICIES:
                _week(policy, weeks[: BEFORE + place], week, files=parsed.files, into=parsed.into)
            shown.advance(1)
    sys.stdout.write(_told(predicted, files=parsed.files, into=parsed.into) + "\n")
    return 0


def write_weeks(folder: Path) -> list[date]:
    """Write each week's rows, of all splits, in order of time; returns the weeks, by their Mondays."""
    given = Path(os.environ.get("CTRGATE_DATA") or "../shared/data") / "collm_ml_1m"
    rows = pl.concat([pl.read_parquet(given / f"{split}.parquet") for split in ("train", "valid", "test")])
    rows = rows.sort("timestamp", "uid", "iid").with_columns(
        week=pl.from_epoch("timestamp").dt.truncate("1w").dt.date()
    )
    for (week,), part in rows.group_by("week", maintain_order=True):
        path = folder / str(week) / "rows.parquet"
        if not path.exists():
            with atomic_file(path) as temporary:
                part.drop("week").write_parquet(temporary)
    return sorted(rows["week"].unique())


def _week(policy: str, before: Sequence[date], week: date, *, files: Path, into: Path) -> None:
    """Train what a policy trains before a week, and score the week's rows, which nothing has learnt from."""
    scores = into / policy / "scores" / str(week)
    if scores.exists():
        return
    learnt = {"warm": before[-1:] if len(before) > BEFORE else before, "scratch": before, "fixed": before[:BEFORE]}[
        policy
    ]
    name = f"{policy}-{before[-1]}" if policy != "fixed" else f"fixed-{before[BEFORE - 1]}"
    run = ["tracking.enabled=false", f"runs={into / policy}", f"name={name}", "dataset.name=collm_weeks"]
    splits = {
        "train": [str(files / str(each) / "rows.parquet") for each in learnt],
        "test": str(files / str(week) / "rows.parquet"),
    }
    prepared = into / policy / "prepared"
    settings = [
        *run,
        f"dataset.splits={json.dumps(splits)}",
        f"prepare.into={prepared / name}",
        "train.warm_start=null",
    ]
    if policy == "warm" and len(before) > BEFORE:
        earlier = f"warm-{before[-2]}"
        settings[-1] = f"train.warm_start={{run: {into / policy / earlier}, optimizer: decay}}"
        settings.append(f"prepare.previous={prepared / earlier}")
    if policy == "fixed" and (into / policy / name / "artifact").exists():
        verbs: tuple[str, ...] = ()
    else:
        verbs = ("prepare", "train", "export")
    for verb in verbs:
        _run(verb, settings)
    _run("score", [*settings, f"score.files={splits['test']}", f"score.into={scores}"])


def _run(verb: str, overrides: Sequence[str]) -> Any:
    module = import_module(f"ctrgate.{verb}")
    return module.run(load(RUN_FILE, module.Config, overrides))


def _told(weeks: Sequence[date], *, files: Path, into: Path) -> str:
    """A table of AUC over all weeks, by user, and the figure of each week's."""
    labels, users = [], []
    logits: dict[str, list[NDArray[np.float64]]] = {policy: [] for policy in POLICIES}
    by_week: dict[str, dict[str, tuple[float, float | None, float | None]]] = {policy: {} for policy in POLICIES}
    for week in weeks:
        rows = pl.read_parquet(files / str(week) / "rows.parquet", columns=["uid", "label"])
        labels.append(rows["label"].to_numpy())
        users.append(rows["uid"].to_numpy())
        for policy in POLICIES:
            scores = pl.read_parquet(into / policy / "scores" / str(week) / "*.parquet")["logit"].to_numpy()
            logits[policy].append(scores)
            if 0 < labels[-1].mean() < 1:
                of = delong(labels[-1], scores)
                by_week[policy][str(week)] = (of.value, of.low, of.high)
    y, groups = np.concatenate(labels), np.concatenate(users)
    lines = ["| policy | AUC over all weeks | mean of the weeks' | less the fixed model's |", "|---|---|---|---|"]
    fixed = np.concatenate(logits["fixed"])
    for policy in POLICIES:
        found = paired_auc(pair(y, fixed, np.concatenate(logits[policy]), groups=groups))
        auc, less = found.b.interval(), found.difference.interval()
        mean = np.mean([value for value, _, _ in by_week[policy].values()])
        difference = "—" if policy == "fixed" else f"{less.value:+.4f} [{less.low:+.4f}, {less.high:+.4f}]"
        lines.append(f"| {policy} | {auc.value:.4f} [{auc.low:.4f}, {auc.high:.4f}] | {mean:.4f} | {difference} |")
    write_json(into / "weeks.json", by_week)
    figure = figures.over_time([str(week) for week in weeks], by_week, ylabel="AUC on the week's rows")
    with atomic_file(into / "weeks.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
