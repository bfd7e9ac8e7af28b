"""Say which of two models is better on the same rows, by how much, with intervals that know of users."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ctrgate.comparison.document import document
from ctrgate.comparison.reading import kind_of, read_side
from ctrgate.comparison.rows import HeldOut, Rows, counted, open_rows
from ctrgate.comparison.segments import segments_of
from ctrgate.comparison.side import Side
from ctrgate.comparison.wording import sentence
from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError
from ctrgate.files import atomic_file, write_json, writing
from ctrgate.metrics.comparison import Segment, compare_pairs, compare_segments
from ctrgate.metrics.paired import PairedRows, pair
from ctrgate.progress import bar, console
from ctrgate.ranges import Count

__all__ = ["FORMAT_VERSION", "CompareSettings", "Config", "run"]

FORMAT_VERSION = 1


@settings
class CompareSettings:
    """What is compared with what, on which rows."""

    against: Place
    """A, the one to beat: the folder of a run or of an artifact, or a Parquet file of predictions."""
    candidate: Place = ""
    """B, likewise; the run ``RUNS/NAME`` by default."""
    split: HeldOut = "test"
    """The rows: this split of the data that the run was prepared with."""
    label: str = ""
    """The label; the first by default."""
    which: Literal["best", "last"] = "best"
    """The checkpoint of runs."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of every interval."""
    resamples: Annotated[int, Field(ge=0)] = 200
    """Of users, for the bootstrap beside the intervals; 0 leaves it out."""
    seed: int = 0
    """Of the bootstrap."""
    max_segments: Count = 50
    """Values of each segment, those with most rows."""
    into: Place = ""
    """The folder of the result; ``RUNS/NAME/comparisons/A-SPLIT`` by default, A being the name of the one to beat."""


@settings
class Config:
    """The sections that ``compare`` reads; the rest it takes from the run's own config.yaml."""

    name: str
    """The run: B, unless ``compare.candidate`` names another, and the one whose rows are used."""
    runs: Place = "runs"
    """Where run folders lie."""
    compare: CompareSettings
    """What is compared with what, on which rows."""


def run(config: Config) -> dict[str, Any]:
    """Write ``comparison.json`` (every figure) and ``index.html`` (a page that needs nothing else).

    Both models are seen to speak of the same rows, or nothing is compared. All differences are B less A.

    Returns:
        The JSON and the page, both sides, ``sentence``, and by metric ``difference``, ``low``, ``high`` and
        ``verdict``.

    Raises:
        ConfigError: No such run, artifact or file, or one that does not predict the label.
        DataError: The two are not of the same rows.
        ArtifactError: Where an artifact is damaged.
    """
    chosen = config.compare
    home = Path(config.runs) / config.name
    rows = open_rows(home, split=chosen.split, label=chosen.label)
    sides = _sides(rows, chosen, home=home)
    pairs, segments = _paired(rows, sides)
    result = {
        "format_version": FORMAT_VERSION,
        "a": sides["a"].to_json(),
        "b": sides["b"].to_json(),
        "rows": {
            "split": rows.split,
            "label": rows.label,
            "prepared": str(rows.prepared.folder),
            "encoder": rows.prepared.manifest.encoder,
            "identified_by": rows.identifying,
        },
        "level": chosen.level,
        **_measured(pairs, chosen),
        "users": _users(rows, pairs),
        "segments": compare_segments(pairs, segments, level=chosen.level, max_lines=chosen.max_segments),
    }
    result["sentence"] = sentence(result)
    folder = Path(chosen.into) if chosen.into else home / "comparisons" / f"{_file_name(sides['a'])}-{rows.split}"
    with writing(folder, setting="compare.into"):
        write_json(folder / "comparison.json", result)
        with atomic_file(folder / "index.html") as temporary:
            temporary.write_text(document(result), encoding="utf-8")
    return _told(result, folder)


def _sides(rows: Rows, chosen: CompareSettings, *, home: Path) -> dict[str, Side]:
    """What A and B say of the rows; both are looked at before either is scored."""
    places = {"a": Path(chosen.against), "b": Path(chosen.candidate) if chosen.candidate else home}
    named_by = {"a": "compare.against", "b": "compare.candidate" if chosen.candidate else "name"}
    for key, place in places.items():
        kind_of(place, setting=named_by[key])
    if places["a"].resolve() == places["b"].resolve():
        raise ConfigError(f"compare.against: {places['a']} is the candidate itself; name another run or artifact")
    return {key: read_side(place, rows, which=chosen.which, setting=named_by[key]) for key, place in places.items()}


def _paired(rows: Rows, sides: dict[str, Side]) -> tuple[PairedRows, dict[str, Segment]]:
    """The rows that have a label and a weight, as both sides see them, and their segments."""
    kept, labels = counted(rows), rows.column(rows.label_column)
    weights, groups, segments = rows.role("weight"), rows.role("group"), segments_of(rows)
    if not kept.all():
        labels = labels[kept]
        weights, groups = (None if values is None else values[kept] for values in (weights, groups))
        segments = {
            name: Segment(names=of.names, codes=of.codes[kept], ordered=of.ordered) for name, of in segments.items()
        }
    logits = {key: side.logits if kept.all() else side.logits[kept] for key, side in sides.items()}
    return pair(labels, logits["a"], logits["b"], groups=groups, weights=weights), segments


def _measured(pairs: PairedRows, chosen: CompareSettings) -> dict[str, Any]:
    resampled = chosen.resamples if pairs.codes is not None else 0
    with bar("resampling users", total=resampled, unit="resamples") as progress:
        found = compare_pairs(
            pairs,
            level=chosen.level,
            seed=chosen.seed,
            num_resamples=chosen.resamples,
            advance=lambda: progress.advance(1),
        )
    del found["num_users"]
    return found


def _users(rows: Rows, pairs: PairedRows) -> dict[str, Any] | None:
    """What keeps rows together; None where the dataset names no user."""
    if pairs.codes is None:
        return None
    return {"column": rows.prepared.layout.roles["group"][0].partition(":")[2], "count": pairs.num_clusters}


def _file_name(side: Side) -> str:
    return re.sub(r"[^\w.-]+", "_", side.name)[:100] or "other"


def _told(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    for key in ("a", "b"):
        side = result[key]
        console.print(f"{key.upper()}: {side['kind']} {side['place']}, {side['read']}", markup=False)
    console.print(f"page: {folder / 'index.html'}", markup=False)
    console.print(result["sentence"], markup=False)
    metrics = {
        name: {
            "difference": of["difference"]["value"],
            "low": of["difference"]["low"],
            "high": of["difference"]["high"],
            "verdict": of["verdict"],
        }
        for name, of in result["metrics"].items()
        if of is not None
    }
    return {
        "comparison": str(folder / "comparison.json"),
        "report": str(folder / "index.html"),
        "a": result["a"]["place"],
        "b": result["b"]["place"],
        "sentence": result["sentence"],
        "metrics": metrics,
    }
