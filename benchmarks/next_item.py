"""Train next-item run files over seeds; print test metrics and, by user, the differences from the first of them."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.metrics.ranking import bootstrap_mean, ranking_values
from pipelines.experiment import Stopped, run_verb

__all__ = ["Trained", "main", "table"]

EXPERIMENTS = Path(__file__).parents[1] / "configs" / "experiments"
BEAUTY = ("beauty_sasrec", "beauty_sasrec_prefixes", "beauty_mamba4rec", "beauty_sigma")
CUTOFF = 10


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One run.

    Args:
        ranks: Of the test rows' next items, in the split's order.
        parameters: Tables and network.
        epochs: That were trained.
        epoch_seconds: Median time of an epoch's steps.
        gigabytes: The most memory that a verb of this benchmark has had so far, this run's included.
    """

    ranks: NDArray[np.int64]
    parameters: int
    epochs: int
    epoch_seconds: float
    gigabytes: float


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.next_item [NAME ...] [--seeds 2021 2022 2023]``; run again, it goes on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.next_item", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BEAUTY), metavar="NAME", help="run files, without .yaml")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2021, 2022, 2023])
    parser.add_argument("--runs", default="runs/next_item", help="where run folders lie")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", help="other settings, for all runs")
    parsed = parser.parse_args(arguments)
    try:
        runs = {
            name: [_run(name, seed=seed, runs=parsed.runs, overrides=parsed.set) for seed in parsed.seeds]
            for name in parsed.names
        }
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    print(table(runs))
    return 0


def table(runs: Mapping[str, Sequence[Trained]]) -> str:
    """One line per run file: means over seeds, and the paired difference of NDCG from the first with its interval.

    A difference is that of each user's mean over seeds; its 95 % interval resamples users.

    Args:
        runs: By run file, for each seed; all on the same test rows.
    """
    head = f"HR@{CUTOFF}", f"NDCG@{CUTOFF}", "against the first, NDCG", "parameters", "epochs", "s/epoch", "GB at most"
    lines = ["| run file | seeds | " + " | ".join(head) + " |", "|---" * (2 + len(head)) + "|"]
    first: NDArray[np.float64] | None = None
    for name, of in runs.items():
        values = [ranking_values(run.ranks, cutoff=CUTOFF) for run in of]
        gains = np.mean([value["ndcg"] for value in values], axis=0)
        difference = "—"
        if first is not None:
            found = bootstrap_mean(gains - first, seed=0)
            difference = f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        first = gains if first is None else first
        cells = [
            name,
            str(len(of)),
            *(_over_seeds([float(value[metric].mean()) for value in values]) for metric in ("hit_rate", "ndcg")),
            difference,
            f"{of[0].parameters:,}",
            " ".join(str(run.epochs) for run in of),
            f"{statistics.median(run.epoch_seconds for run in of):.0f}",
            f"{max(run.gigabytes for run in of):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _over_seeds(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def _run(name: str, *, seed: int, runs: str, overrides: Sequence[str]) -> Trained:
    run_file = EXPERIMENTS / f"{name}.yaml"
    settings = [f"name={name}_{seed}", f"seed={seed}", f"runs={runs}", "tracking.enabled=false", *overrides]
    prepared = run_verb("prepare", run_file=run_file, overrides=overrides).result
    trained = run_verb("train", run_file=run_file, overrides=settings).result
    run_verb("evaluate", run_file=run_file, overrides=settings)
    folder = Path(runs) / f"{name}_{seed}"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rate = statistics.median(line["rows_per_second"] for line in lines)
    return Trained(
        ranks=pl.read_parquet(folder / "evaluation" / "test.parquet")["rank"].to_numpy(),
        parameters=trained["parameters"],
        epochs=trained["epochs"],
        epoch_seconds=prepared["rows"]["train"] / rate,
        gigabytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
    )


if __name__ == "__main__":
    raise SystemExit(main())
