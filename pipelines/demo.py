"""What ``make demo`` shows: generated clicks become features, a trained FinalMLP, an evaluation and scored rows."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console, Group
from rich.table import Table

from ctrgate.data.planted import BestScores, best_scores
from ctrgate.data.synthetic import SyntheticConfig, write
from ctrgate.errors import CtrgateError
from ctrgate.progress import console
from pipelines.experiment import Stage, Stopped, experiment

__all__ = ["demo", "main"]

RUN_FILE = Path(__file__).parents[1] / "configs" / "experiments" / "demo.yaml"
FOLDER = Path("demo")
ROWS = FOLDER / "generated" / "rows"
NUM_DAYS = 7  # the run file learns from five, selects by the sixth, and is judged by the seventh
_PLACES = (("scores", "score", "into"), ("report", "report", "report"))


def demo(*, rows_per_day: int, overrides: Sequence[str] = ()) -> Group:
    """Generate clicks under ``demo/`` and run the whole chain on them; what an earlier demo left is replaced.

    Returns:
        AUC and log loss on the last day beside the best reachable, rows/s of each stage, and where things lie.

    Raises:
        Stopped: Where a verb fails.
    """
    for name in ("generated", "prepared", "runs", "scores", "mlflow_artifacts"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    (FOLDER / "mlflow.db").unlink(missing_ok=True)
    console.rule("generate", align="left", characters="─")
    started = time.monotonic()
    write(SyntheticConfig(num_rows=NUM_DAYS * rows_per_day, rows_per_file=rows_per_day), FOLDER / "generated")
    generated = NUM_DAYS * rows_per_day / (time.monotonic() - started)
    stages = {stage.verb: stage for stage in experiment(RUN_FILE, overrides=overrides)}
    last_day = pl.read_parquet(ROWS / f"part-{NUM_DAYS - 1:05}.parquet", columns=["click", "click_probability"])
    best = best_scores(last_day["click_probability"].to_numpy(), last_day["click"].to_numpy())
    places = [f"{name}: {stages[verb].result[key]}" for name, verb, key in _PLACES]
    return Group(_table(stages, best=best, generated=generated), *places)


def _table(stages: dict[str, Stage], *, best: BestScores, generated: float) -> Table:
    test = stages["evaluate"].result["test"]
    auc, rates = test["auc"], {"generate": generated} | {verb: _rate(stage) for verb, stage in stages.items()}
    table = Table("test rows", "FinalMLP", "best reachable")
    table.add_row("AUC", f"{auc['value']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}]", f"{best.auc:.4f}")
    table.add_row("log loss", f"{test['log_loss']:.4f}", f"{best.log_loss:.4f}")
    table.add_section()
    for stage, rate in rates.items():
        seconds = f"{stages[stage].seconds:.1f} s with start" if stage in stages else ""
        clock = ", start included" if stage == "prepare" else ""
        table.add_row(stage, f"{rate:,.0f} rows/s{clock}" if rate else "", seconds)
    return table


def _rate(stage: Stage) -> float | None:
    """Rows per second by the verb's own clock; for prepare, that of its whole process."""
    if stage.verb == "prepare":
        num_rows: int = sum(stage.result["rows"].values())
        return num_rows / stage.seconds
    result = stage.result.get("test", stage.result)
    rate: float | None = result.get("rows_per_second")
    return rate


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m pipelines.demo [section.key=value ...]``."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description=__doc__)
    parser.add_argument("--rows-per-day", type=int, default=30_000)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="applied for every verb")
    parsed = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        shown = demo(rows_per_day=parsed.rows_per_day, overrides=parsed.overrides)
    except Stopped as stopped:
        console.print(f"demo: {stopped}", markup=False)
        return stopped.exit_code
    except CtrgateError as error:
        console.print(f"demo: {error}", markup=False)
        return error.exit_code
    Console(soft_wrap=True).print(shown, f"{time.monotonic() - started:.0f} s in all", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
