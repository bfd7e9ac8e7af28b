"""Raw rows to scores, form by form: rows a second of the whole job, and of each of its stages alone."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import torch

from benchmarks.speed.place import SCORED_ROWS, Place
from ctrgate import export, score
from ctrgate.artifact.bundle import Artifact, to_batch
from ctrgate.artifact.forms import Form, RowForm
from ctrgate.artifact.manifest import identity
from ctrgate.scoring.answers import scores
from ctrgate.scoring.settings import ScoreSettings

__all__ = ["main"]

STAGES = ("encode", "batch", "lookup", "network", "write")
BATCH_ROWS = ScoreSettings.batch_rows


@dataclass(kw_only=True)
class Side:
    """One form of the model, with the seconds that its stages and jobs took.

    Args:
        name: As the table tells it.
        artifact: Its folder.
        form: How its network is computed.
    """

    name: str
    artifact: Path
    form: Form
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    jobs: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m benchmarks.scoring [--rows N] [--turns N]``; prints one table. One thread, one process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="that the model learns from")
    parser.add_argument("--turns", type=int, default=3, help="of each form, one after the other")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="scoring-") as folder:
        place = Place(Path(folder))
        place.make(num_rows=parsed.rows)
        sides = _sides(place)
        for turn in range(parsed.turns):
            for side in sides:
                _stages(side, place)
                side.jobs.append(_job(side, place, into=Path(folder) / f"scores-{turn}"))
    head = ("form", "the job, rows/s", *(f"{stage} alone" for stage in STAGES), "of its two slowest")
    sys.stdout.write(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n")
    for side in sides:
        sys.stdout.write(f"| {' | '.join(_line(side))} |\n")
    return 0


def _sides(place: Place) -> list[Side]:
    """The run exported once with rows in float32 and all forms of the network, and once with rows in int8."""
    found = []
    wanted: dict[RowForm, tuple[Form, ...]] = {"float32": ("bf16", "compiled", "compiled_bf16"), "int8": ("bf16",)}
    for rows, forms in wanted.items():
        artifact = place.folder / f"artifact-{rows}"
        settings = {"rows": rows, "forms": forms, "into": str(artifact), "tolerance": {"bf16": 1.0, "int8": 1.0}}
        export.run(place.settings(export.Config, export=settings))
        every: tuple[Form, ...] = ("fp32", *forms)
        found += [Side(name=f"{rows} rows, {form}", artifact=artifact, form=form) for form in every]
    return found


def _stages(side: Side, place: Place) -> None:
    """Time each stage over all rows, as the job takes them."""
    artifact = Artifact.load(side.artifact, form=side.form, trusted=identity(side.artifact), replay=False)
    raw = pl.read_parquet(place.raw_to_score / "*.parquet")
    seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[stage] += time.perf_counter() - started

    writer = None
    target = place.folder / "alone.parquet"
    with torch.inference_mode():
        for rows in raw.iter_slices(BATCH_ROWS):
            with timed("encode"):
                encoded = artifact.encoder.transform(rows.lazy(), scoring=True).collect()
            with timed("batch"):
                batch = to_batch(encoded, layout=artifact.layout)
            with timed("lookup"):
                artifact.lookup(batch)
            with timed("network"):  # with the lookup once more, which is taken off
                columns = scores(artifact, batch, first=0)
            with timed("write"):
                table = pl.DataFrame(columns).to_arrow()
                writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
                writer.write_table(table)
    if writer is not None:
        with timed("write"):
            writer.close()
    seconds["network"] -= seconds["lookup"]
    for stage, took in seconds.items():
        side.stages[stage].append(took)


def _job(side: Side, place: Place, *, into: Path) -> float:
    """Seconds of the whole job in this process, loading the model included."""
    settings: dict[str, Any] = {
        "files": [str(place.raw_to_score / "*.parquet")],
        "model": str(side.artifact),
        "form": side.form,
        "trusted": identity(side.artifact),
        "into": str(into),
        "replace": True,
        "on_skew": "warn",
    }
    started = time.perf_counter()
    score.run(place.settings(score.Config, score=settings))
    took = time.perf_counter() - started
    shutil.rmtree(into)
    return took


def _line(side: Side) -> list[str]:
    rate: Callable[[float], str] = lambda seconds: f"{SCORED_ROWS / seconds:,.0f}"  # noqa: E731
    alone = {stage: statistics.median(found) for stage, found in side.stages.items()}
    job = statistics.median(side.jobs)
    slowest = sum(sorted(alone.values())[-2:])
    return [side.name, rate(job), *map(rate, alone.values()), f"{slowest / job:.0%}"]


if __name__ == "__main__":
    sys.exit(main())
