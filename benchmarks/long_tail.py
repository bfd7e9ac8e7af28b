"""Train networks with and without histories on CoLLM's MovieLens-1M; print test AUC by the length of the history."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.auc import auc
from ctrgate.metrics.bootstrap import bootstrap_grouped_auc
from ctrgate.metrics.grouped import GroupedAuc, grouped_auc
from ctrgate.metrics.intervals import Estimate, percentile_interval
from pipelines.experiment import Stopped, run_verb

__all__ = ["auc_gain", "grouped_auc_gain", "main", "table"]

EXPERIMENTS = Path(__file__).parents[1] / "configs" / "experiments"
TITLES = {
    "collm_ml_1m_dnn": "DNN",
    "collm_ml_1m_din": "DIN",
    "collm_ml_1m_bst": "BST",
    "collm_ml_1m_mmoe": "MMoE-style",
    "collm_ml_1m_aw_moe_plain": "AW-MoE without contrast",
    "collm_ml_1m_aw_moe": "AW-MoE",
}
WITH, WITHOUT = "collm_ml_1m_aw_moe", "collm_ml_1m_aw_moe_plain"
SEGMENT = "segment:events in history"
Runs = Mapping[str, Sequence[pl.DataFrame]]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.long_tail [--seeds 2021 2022 2023] [--runs FOLDER]``; run again, it goes on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_tail", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2021, 2022, 2023])
    parser.add_argument("--runs", default="runs/long_tail", help="where run folders lie, and the prepared rows")
    parsed = parser.parse_args(arguments)
    try:
        runs = {name: [_scored(name, seed=seed, runs=parsed.runs) for seed in parsed.seeds] for name in TITLES}
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    print(table(runs))
    return 0


def table(runs: Runs, *, num_resamples: int = 1000) -> str:
    """Two lines per slice of the test rows, AUC and AUC within users, as Markdown; a column for each run file.

    Cells are means over seeds and their standard deviation. The last column is the gain of ``WITH`` upon ``WITHOUT``
    in the mean over seeds, with its 95 % interval over users.

    Args:
        runs: By run file, for each seed the rows as ``evaluate`` scored them, all in one order.
        num_resamples: Of the intervals.
    """
    titles = [TITLES[name] for name in runs]
    lines = [
        "| test rows | | " + " | ".join(titles) + " | gain of the contrastive loss |",
        "|---" * (3 + len(titles)) + "|",
    ]
    for title, chosen in _slices(next(iter(runs.values()))[0]).items():
        parts = {name: [frame.filter(chosen) for frame in frames] for name, frames in runs.items()}
        first = next(iter(parts.values()))[0]
        head = f"{title} ({len(first):,} rows, {first['group:uid'].n_unique():,} users)"
        plain = {name: [_auc(frame) for frame in frames] for name, frames in parts.items()}
        within = {name: [_within(frame).value for frame in frames] for name, frames in parts.items()}
        gain = auc_gain(parts[WITH], parts[WITHOUT], num_resamples=num_resamples)
        of_users = grouped_auc_gain(parts[WITH], parts[WITHOUT], num_resamples=num_resamples)
        for start, values, estimate in ((f"{head} | AUC", plain, gain), (" | within users", within, of_users)):
            cells = [start, *(_mean(of) for of in values.values())]
            cells.append(f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def auc_gain(
    those: Sequence[pl.DataFrame], others: Sequence[pl.DataFrame], *, num_resamples: int, seed: int = 0
) -> Estimate:
    """``mean over seeds of AUC(those) - AUC(others)``, with a percentile interval from resampled users.

    A resample takes each user a Poisson(1) number of times, the same users for every run, so that differences are
    paired; the runs stay as they are, so that the interval speaks of other users, not of other seeds.
    """
    labels = _labels(those[0])
    codes = np.unique(those[0]["group:uid"].to_numpy(), return_inverse=True)[1]
    scores = [[frame["logit:label"].to_numpy() for frame in frames] for frames in (those, others)]

    def gained(weights: Floats | None) -> float:
        if weights is not None and not weights.any():
            return float("nan")
        one, other = ([auc(labels, of, weights=weights) for of in of_runs] for of_runs in scores)
        return statistics.mean(one) - statistics.mean(other)

    rng = np.random.default_rng(seed)
    drawn = (rng.poisson(1.0, size=codes.max() + 1).astype(np.float64)[codes] for _ in range(num_resamples))
    return percentile_interval(gained(None), resampled=np.array([gained(weights) for weights in drawn]))


def grouped_auc_gain(those: Sequence[pl.DataFrame], others: Sequence[pl.DataFrame], *, num_resamples: int) -> Estimate:
    """The same of AUC within users, averaged by their rows: users of both classes alone."""
    one, other = ([_within(frame) for frame in frames] for frames in (those, others))
    aucs = np.mean([of.aucs for of in one], axis=0) - np.mean([of.aucs for of in other], axis=0)
    value = statistics.mean(of.value for of in one) - statistics.mean(of.value for of in other)
    known = one[0]
    gain = GroupedAuc(value=value, num_groups=known.num_groups, num_rows=known.num_rows, aucs=aucs, rows=known.rows)
    return bootstrap_grouped_auc(gain, seed=0, num_resamples=num_resamples)


def _slices(frame: pl.DataFrame) -> dict[str, pl.Series]:
    """All rows, then those of each length of the history, the shortest first."""
    names = sorted(frame[SEGMENT].unique().to_list(), key=lambda name: (name.startswith("more"), name))
    return {"all": pl.repeat(True, len(frame), eager=True)} | {
        f"{name} events": frame[SEGMENT] == name for name in names
    }


def _labels(frame: pl.DataFrame) -> Floats:
    return frame["label:label"].to_numpy().astype(np.float64)


def _auc(frame: pl.DataFrame) -> float:
    return auc(_labels(frame), frame["logit:label"].to_numpy())


def _within(frame: pl.DataFrame) -> GroupedAuc:
    return grouped_auc(_labels(frame), frame["logit:label"].to_numpy(), frame["group:uid"].to_numpy())


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def _scored(name: str, *, seed: int, runs: str) -> pl.DataFrame:
    """Train and evaluate one run file with one seed; a run that is done is not done again."""
    run_file = EXPERIMENTS / f"{name}.yaml"
    prepared = f"prepare.into={runs}/prepared"
    overrides = [f"name={name}_{seed}", f"seed={seed}", f"runs={runs}", prepared, "tracking.enabled=false"]
    run_verb("prepare", run_file=run_file, overrides=[prepared])
    run_verb("train", run_file=run_file, overrides=overrides)
    done = Path(runs) / f"{name}_{seed}" / "evaluation" / "test.parquet"
    if not done.exists():
        run_verb("evaluate", run_file=run_file, overrides=overrides)
    return pl.read_parquet(done)


if __name__ == "__main__":
    raise SystemExit(main())
