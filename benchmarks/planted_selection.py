"""Search for values on generated rows whose noise is known, and print what it drops beside a cut by frequency.

The penalty is chosen on valid: the one of the best mean AUC, and beside it the largest one within .0005 of that, whose
share of values the cut by frequency keeps too. Test rows are measured for every setting and decide nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from ctrgate.data.planted import best_scores
from ctrgate.data.synthetic import SyntheticConfig, write
from ctrgate.features.encoder import Encoder
from ctrgate.features.vocabulary import Vocabulary
from ctrgate.row_ids import FIRST_VALUE_ID
from pipelines.experiment import Stopped, run_verb

__all__ = ["main"]

ROWS = SyntheticConfig(
    num_rows=450_000,
    rows_per_file=75_000,
    seed=1,
    num_users=500,
    num_items=100,
    num_values=200,
    num_noise_fields=3,
    effect=1.5,
)
TRAIN_ROWS = 300_000
FIELDS = ("user", "item", "category", "device", "slot", "tag_1", "tag_2", "noise_1", "noise_2", "noise_3")
WITHIN = 0.0005
RARE = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.planted_selection [--seeds 1 2 3] [--nats 3 5 7 10]``; run again, it goes on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted_selection", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--nats", nargs="+", type=float, default=[3, 5, 7, 10], help="penalties times train rows")
    parser.add_argument("--forms", nargs="+", default=["continuation"], help="continuation, straight_through, …")
    parser.add_argument("--folder", default="runs/planted_selection", help="where rows and run folders lie")
    parsed = parser.parse_args(arguments)
    folder = Path(parsed.folder).resolve()
    try:
        if not (folder / "generated").exists():
            write(ROWS, folder / "generated")
        for form in parsed.forms:
            print(_compare(folder, form=form, seeds=parsed.seeds, nats=parsed.nats))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    return 0


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One setting over seeds."""

    name: str
    valid: list[float]
    test: list[float]
    noise_dropped: list[float]
    signal_kept: list[float]
    values_kept: list[float]

    def cells(self) -> list[str]:
        spread = f" ± {statistics.stdev(self.test):.5f}" if len(self.test) > 1 else ""
        shares = (self.values_kept, self.noise_dropped, self.signal_kept)
        return [
            self.name,
            *(" ".join(f"{share:.1%}" for share in of) for of in shares),
            f"{statistics.mean(self.valid):.5f}",
            f"{statistics.mean(self.test):.5f}{spread}",
        ]


def _compare(folder: Path, *, form: str, seeds: Sequence[int], nats: Sequence[float]) -> str:
    """The table of one form of gates, as Markdown, with the choice."""
    counts = _counts(folder)
    full = _line(folder, "all values", seeds=seeds, counts=counts)
    searched = {
        of: _line(folder, f"{form}, {of:g} nats", seeds=seeds, counts=counts, search=_search(form, of)) for of in nats
    }
    valid = {of: statistics.mean(line.valid) for of, line in searched.items()}
    best = max(valid, key=lambda of: valid[of])
    sparsest = max(of for of, area in valid.items() if area >= valid[best] - WITHIN)
    share = statistics.mean(searched[sparsest].values_kept)
    cut = int(np.quantile(counts["count"].to_numpy(), 1 - share, method="nearest")) + 1
    frequent = _line(folder, f"seen at least {cut} times", seeds=seeds, counts=counts, min_count=cut)
    lines = [
        "| values | kept | noise values dropped | signal values kept | valid AUC | test AUC, mean ± std over seeds |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(line.cells()) + " |" for line in (full, *searched.values(), frequent)),
    ]
    reach = best_scores(*_truth(folder))
    facts = [
        *(
            f"{rule}: {of:g} nats, a penalty of {of / TRAIN_ROWS:.3g}; test AUC "
            f"{statistics.mean(searched[of].test) - statistics.mean(full.test):+.5f} against all values"
            for rule, of in (("best on valid", best), (f"largest within {WITHIN} of it", sparsest))
        ),
        f"test AUC of the true probabilities: {reach.auc:.5f}",
        f"noise values: {counts.filter(~pl.col('signal')).height}; signal values seen at least {RARE} times: "
        f"{counts.filter(pl.col('signal') & (pl.col('count') >= RARE)).height}; the rarest value is seen "
        f"{min(counts['count'].to_list())} times",
    ]
    return "\n".join([*lines, "", *facts])


def _search(form: str, nats: float) -> dict[str, Any]:
    return {
        "name": form,
        "penalty": nats / TRAIN_ROWS,
        "epochs": 8,
        "rewind_epoch": 1,
        "learning_rate": 2e-3 if form != "hard_concrete" else 1e-2,
    }


def _line(
    folder: Path,
    title: str,
    *,
    seeds: Sequence[int],
    counts: pl.DataFrame,
    search: Mapping[str, Any] | None = None,
    min_count: int = 1,
) -> _Line:
    results = []
    for seed in seeds:
        name = f"{title}_{seed}".replace(" ", "_").replace(",", "")
        run_file = _run_file(folder, name=name, seed=seed, search=search, min_count=min_count)
        done = folder / "runs" / name / "result.json"
        if not done.exists():
            run_verb("prepare", run_file=run_file)
            run_verb("train", run_file=run_file)
            evaluated = run_verb("evaluate", run_file=run_file).result
            exported = run_verb("export", run_file=run_file).result
            done.write_text(json.dumps({**evaluated, "artifact": exported["artifact"]}))
        results.append(json.loads(done.read_text()))
    kept = [_kept(Path(result["artifact"]), counts) for result in results]
    signal = pl.col("signal") & (pl.col("count") >= RARE)
    return _Line(
        name=title,
        valid=[result["valid"]["auc"]["value"] for result in results],
        test=[result["test"]["auc"]["value"] for result in results],
        noise_dropped=[1 - _share(of.filter(~pl.col("signal"))) for of in kept],
        signal_kept=[_share(of.filter(signal)) for of in kept],
        values_kept=[_share(of) for of in kept],
    )


def _share(values: pl.DataFrame) -> float:
    kept: list[bool] = values["kept"].to_list()
    return sum(kept) / len(kept)


def _counts(folder: Path) -> pl.DataFrame:
    """Every planted value that train rows hold: field, value, how often, and whether it is signal."""
    rows = pl.scan_parquet(sorted((folder / "generated/rows").glob("part-0000[0-3].parquet")))
    truth = pl.read_parquet(folder / "generated/planted/values.parquet").select("field", "number", "signal")
    counted = []
    for field in truth["field"].unique(maintain_order=True):
        counts = rows.select(pl.col(field).cast(pl.String).alias("value")).group_by("value").agg(count=pl.len())
        number = pl.col("value").str.extract(r"(\d+)$").cast(pl.Int64)
        counted.append(counts.select(pl.lit(field).alias("field"), "value", "count", number=number).collect())
    return pl.concat(counted).join(truth, on=["field", "number"])


def _kept(artifact: Path, counts: pl.DataFrame) -> pl.DataFrame:
    """The planted values, with whether the artifact's encoder gives them a row of their own."""
    encoder = Encoder.load(artifact / "encoder")
    rows = [
        table.entries.filter(pl.col("id") >= FIRST_VALUE_ID).select(pl.lit(name).alias("field"), "value", kept=True)
        for name, table in encoder.tables.items()
        if isinstance(table, Vocabulary)
    ]
    return counts.join(pl.concat(rows), on=["field", "value"], how="left").with_columns(pl.col("kept").fill_null(False))


def _truth(folder: Path) -> tuple[Any, Any]:
    test = pl.read_parquet(folder / "generated/rows/part-00005.parquet")
    return test["click_probability"].to_numpy(), test["click"].to_numpy()


def _run_file(folder: Path, *, name: str, seed: int, search: Mapping[str, Any] | None, min_count: int) -> Path:
    encoding = {"kind": "vocabulary", "min_count": min_count}
    values = {
        "name": name,
        "seed": seed,
        "runs": str(folder / "runs"),
        "dataset": {
            "name": f"planted_{min_count}",
            "splits": {
                split: str(folder / f"generated/rows/part-0000{files}.parquet")
                for split, files in (("train", "[0-3]"), ("valid", "4"), ("test", "5"))
            },
            "labels": [{"name": "click"}],
            "features": [
                *({"kind": "categorical", "name": field, "encoding": encoding} for field in FIELDS),
                {"kind": "numeric", "name": "price", "transform": "log"},
                {"kind": "numeric", "name": "age"},
            ],
        },
        "prepare": {"into": str(folder / f"prepared_{min_count}")},
        "tables": {"dim": 8, "init_std": 0.01, "rule": {"name": "dense", "l2": 1e-5}},
        "model": {"name": "deep_fm", "mlp": {"hidden": [64, 32], "dropout": 0.1, "batch_norm": False}},
        "train": {"epochs": 12, "batch_size": 1024, "learning_rate": 2e-3},
        "select": dict(search) if search else None,
        "tracking": {"enabled": False},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


if __name__ == "__main__":
    raise SystemExit(main())
