"""Score raw rows with an exported model: Parquet or CSV in, Parquet with keys and scores out."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from pydantic import Field

from ctrgate.artifact.bundle import Artifact, to_batch
from ctrgate.config import Place, settings
from ctrgate.contracts import FIRST_VALUE_ID
from ctrgate.errors import ConfigError, DataError, SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.features.dataset import DatasetConfig, Places
from ctrgate.features.layout import role_column
from ctrgate.features.rawfile import ROW
from ctrgate.features.sources import Source, read_raw
from ctrgate.files import atomic_folder, locked, write_json, writing
from ctrgate.metrics.calibration import sigmoid
from ctrgate.models.next_item import HISTORIES_AT_ONCE
from ctrgate.progress import Bar, bar, console

__all__ = ["SUCCESS", "Config", "ScoreSettings", "run"]

SUCCESS = "_SUCCESS"
_FORMAT_VERSION = 1
_ROW_GROUP = 65_536
_GUESS_BYTES = 1 << 20


@settings
class ScoreSettings:
    """Which rows are scored, with which model."""

    files: Annotated[Places, Field(min_length=1)]
    """Paths or globs of raw files, written as the dataset's files were."""
    model: Place = ""
    """The folder of the exported model; ``RUNS/NAME/artifact`` by default."""
    into: Place = ""
    """The folder of the scores; ``scores/NAME`` by default."""
    batch_rows: Annotated[int, Field(ge=1)] = 16_384
    """Rows that go through the network together; of histories whose next items are ranked, at most 1,024."""
    top_k: Annotated[int, Field(ge=1)] = 10
    """Items per row, for a model that ranks items."""
    replace: bool = False
    """Replace scores of another model or of other files that lie there."""
    dry_run: bool = False
    """Check model, files and columns, and write nothing."""


@settings
class Config:
    """The sections that ``score`` reads."""

    name: str
    """The run whose artifact scores, unless ``score.model`` names another."""
    runs: Place = "runs"
    """Where run folders lie."""
    dataset: DatasetConfig | None = None
    """How rows are read, joined and keyed, where that is not as it was in training; the features must be the same."""
    score: ScoreSettings
    """Which rows are scored, with which model."""


def run(config: Config) -> dict[str, Any]:
    """Write one Parquet file of scores per raw file, and ``_SUCCESS``; the folder appears whole or not at all.

    Columns: the keys that ``roles.keys`` names (``file`` and ``row`` where it names none), then ``score`` (the
    probability) and ``logit``, with several labels ``score:LABEL`` and ``logit:LABEL`` of each. Rows keep their order.
    A model that ranks items gives ``score.top_k`` rows for each: ``rank`` from 1, ``item`` (its raw value) and
    ``score`` (what items are ordered by, no probability).

    Returns:
        The folder, rows, files, and rows per second.

    Raises:
        ConfigError: Where the settings do not fit the model, or the folder holds something else.
        SchemaError: Naming the file and the columns that it lacks.
        DataError: Naming the file, and the row, that cannot be used.
        ArtifactError: Where the model is damaged or was changed.
    """
    place = Path(config.score.model or Path(config.runs) / config.name / "artifact")
    into = Path(config.score.into or Path("scores") / config.name)
    artifact = Artifact.load(place)
    dataset = _dataset(config, artifact)
    sources = _sources(config, artifact, dataset)
    files = [{"path": str(source.path), "num_bytes": source.path.stat().st_size} for source in sources]
    _check_into(into, artifact.identity, files, replace=config.score.replace)
    if config.score.dry_run:
        for file in files:
            console.print(f"would score {file['path']} ({file['num_bytes']:,} bytes)")
        console.print(f"would write {into}, with the model {artifact.manifest.model} of {place}")
        return {"dry_run": True, "into": str(into), "files": len(sources)}
    started = time.monotonic()
    parts: list[dict[str, Any]] = []
    with (
        writing(into, setting="score.into"),
        locked(into.with_name(f".{into.name}.lock"), what=f"the scores {into}"),
        atomic_folder(into) as folder,
        bar("scoring", total=sum(map(_guess_rows, sources))) as progress,
    ):
        for number, (source, told) in enumerate(zip(sources, files, strict=True)):
            part = folder / f"part-{number:05d}-{source.path.stem[:100]}.parquet"
            scored = _scored(artifact, source, keys=dataset.roles.keys, score=config.score, progress=progress)
            parts.append({**told, "part": part.name, "rows": _write_part(part, scored)})
        rows = sum(part["rows"] for part in parts)
        write_json(folder / SUCCESS, _success(artifact, parts))
    rate = rows / max(time.monotonic() - started, 1e-9)
    console.print(f"{into}: {rows:,} rows of {len(parts)} files, {rate:,.0f} rows/s")
    return {"into": str(into), "rows": rows, "files": len(parts), "rows_per_second": rate, "model": artifact.identity}


def _dataset(config: Config, artifact: Artifact) -> DatasetConfig:
    """How rows are read: as the run file says, or as they were in training."""
    if config.dataset is None:
        return artifact.dataset
    ours = {feature.name: feature for feature in config.dataset.features}
    theirs = {feature.name: feature for feature in artifact.encoder.features}
    if config.dataset.features != artifact.encoder.features:
        named = sorted(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        raise ConfigError(
            f"dataset.features differ from those that the model has learnt ({', '.join(named) or 'their order'}); "
            "leave the dataset section out to read rows as in training, or train and export again"
        )
    return config.dataset


def _sources(config: Config, artifact: Artifact, dataset: DatasetConfig) -> list[Source]:
    """The files, each with all columns that features and keys read."""
    sources = read_raw(dataset, config.score.files, encoder=artifact.encoder)
    for path, count in Counter(source.path.resolve() for source in sources).items():
        if count > 1:
            raise DataError(f"{path} is named {count} times by score.files; its rows would be scored {count} times")
    for source in sources:
        check_columns(artifact.encoder.features, source.schema, source=str(source.path), scoring=True)
        try:
            artifact.encoder.transform(source.rows, scoring=True)
        except SchemaError as error:
            raise SchemaError(f"{source.path}: {error}") from error
        if absent := [name for name in dataset.roles.keys if name not in source.schema]:
            raise SchemaError(
                f"{source.path} lacks columns {absent} that dataset.roles.keys names; it has {source.schema.names()}"
            )
    taken = {f"{what}:{label}" for what in ("score", "logit") for label in artifact.layout.labels}
    taken |= {"score", "logit"} if artifact.items is None else {"score", "rank", "item"}
    if clash := sorted(taken & set(dataset.roles.keys)):
        raise ConfigError(f"dataset.roles.keys names {', '.join(clash)}, which scores are called; rename the column")
    return sources


def _check_into(into: Path, model: str, files: Sequence[dict[str, Any]], *, replace: bool) -> None:
    """See that nothing is overwritten but scores of the same model and files, or what is to be replaced."""
    if not into.exists() or (into.is_dir() and not any(into.iterdir())):
        return
    try:
        earlier = json.loads((into / SUCCESS).read_text(encoding="utf-8"))
        same_model = earlier["model"]["identity"] == model
        same_files = [{name: file[name] for name in ("path", "num_bytes")} for file in earlier["files"]] == files
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{into} is there and holds no finished scores; set score.into to another place") from error
    if not replace and not (same_model and same_files):
        whose = "other files" if same_model else "another model"
        raise ConfigError(f"{into} holds scores of {whose}; set score.into to another place, or score.replace=true")


def _scored(
    artifact: Artifact, source: Source, *, keys: Sequence[str], score: ScoreSettings, progress: Bar
) -> Iterator[pl.DataFrame]:
    """A file's rows with their scores, batch by batch."""
    names = {role_column("key", name): name for name in keys} or {ROW: "row"}
    columns = [_key(name, source.schema).alias(role_column("key", name)) for name in keys]
    path, batch_rows, names_of_items = str(source.path), score.batch_rows, pl.Series()
    if artifact.items is not None:
        batch_rows = min(batch_rows, HISTORIES_AT_ONCE)
        names_of_items = artifact.encoder.decode(artifact.items.target, pl.Series(range(artifact.items.num_rows)))
    with source.reading():
        check_values(artifact.encoder.features, source.rows, source=path, scoring=True)
        lazy = artifact.encoder.transform(source.rows.with_columns(columns), keep=list(names), scoring=True)
        pieces = lazy.collect_batches(chunk_size=batch_rows, maintain_order=True)
        empty = pl.DataFrame(schema=lazy.collect_schema())
        for rows in _regrouped(pieces, batch_rows, empty=empty):
            found = rows.select(pl.col(column).alias(name) for column, name in names.items())
            if not keys:
                found = found.select(pl.lit(path).alias("file"), pl.col("row").cast(pl.Int64))
            if artifact.items is None:
                yield found.with_columns(_scores(artifact, rows))
            else:
                yield _ranked(artifact, rows, found, names=names_of_items, top_k=score.top_k)
            progress.advance(rows.height)


def _key(name: str, schema: pl.Schema) -> pl.Expr:
    is_coded = isinstance(schema[name], pl.Categorical | pl.Enum)
    return pl.col(name).cast(pl.String) if is_coded else pl.col(name)


def _scores(artifact: Artifact, encoded: pl.DataFrame) -> list[pl.Series]:
    labels = artifact.layout.labels
    logits = np.empty((0, len(labels)), dtype=np.float32)
    if encoded.height:
        logits = artifact.logits_of(to_batch(encoded, layout=artifact.layout))
    columns = []
    for place, label in enumerate(labels):
        ending = f":{label}" if len(labels) > 1 else ""
        logit = logits[:, place].astype(np.float64)
        columns.append(pl.Series(f"score{ending}", sigmoid(logit)))
        columns.append(pl.Series(f"logit{ending}", logits[:, place]))
    return columns


def _ranked(
    artifact: Artifact, encoded: pl.DataFrame, keys: pl.DataFrame, *, names: pl.Series, top_k: int
) -> pl.DataFrame:
    """The best items of each row, one below the other, with the row's keys; ``names`` has an item by its id."""
    count = top_k + names[FIRST_VALUE_ID:].null_count()  # rows of missing and retired values name no item
    scores, ids = np.empty((0, count), dtype=np.float32), np.empty((0, count), dtype=np.int64)
    if encoded.height:
        scores, ids = artifact.best_items(to_batch(encoded, layout=artifact.layout), count=count)
    row = np.repeat(np.arange(len(ids)), ids.shape[1])
    found = keys[row].with_columns(
        pl.Series("row:place", row), names[ids.ravel()].alias("item"), pl.Series("score", scores.ravel())
    )
    found = found.filter(pl.col("score").is_finite() & pl.col("item").is_not_null())
    found = found.insert_column(keys.width, found.select(rank=pl.int_range(1, pl.len() + 1).over("row:place"))["rank"])
    return found.filter(pl.col("rank") <= top_k).drop("row:place")


def _write_part(path: Path, scored: Iterable[pl.DataFrame]) -> int:
    """Write scored rows in row groups of one size; returns how many there were."""
    num_rows, writer = 0, None
    try:
        for rows in _regrouped(scored, _ROW_GROUP):
            table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            num_rows += rows.height
    finally:
        if writer is not None:
            writer.close()
    return num_rows


def _regrouped(
    frames: Iterable[pl.DataFrame], num_rows: int, *, empty: pl.DataFrame | None = None
) -> Iterator[pl.DataFrame]:
    """The same rows in frames of ``num_rows``, so that batches do not hang on how a file is read.

    The last frame is smaller; without any rows, it is the only one.
    """
    waiting: list[pl.DataFrame] = [] if empty is None else [empty]
    size, yielded = 0, False
    for frame in frames:
        waiting.append(frame)
        size += frame.height
        if size >= num_rows:
            rows = pl.concat(waiting)
            whole = size // num_rows * num_rows
            for start in range(0, whole, num_rows):
                yield rows.slice(start, num_rows)
            waiting, size, yielded = [rows.slice(whole)], size - whole, True
    if waiting and (size or not yielded):
        yield pl.concat(waiting)


def _success(artifact: Artifact, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "format_version": _FORMAT_VERSION,
        "rows": sum(part["rows"] for part in parts),
        "files": list(parts),
        "model": {
            "identity": artifact.identity,
            "name": manifest.model,
            "run": manifest.origin.run,
            "step": manifest.origin.step,
            "ctrgate_version": manifest.ctrgate_version,
        },
        "encoder": manifest.encoder,
        "labels": list(manifest.labels),
    }


def _guess_rows(source: Source) -> int:
    """A file's rows, for the progress bar: exact for Parquet, for text by the length of its first lines."""
    if source.file.format == "parquet":
        return int(pq.read_metadata(source.path).num_rows)
    if source.file.format == "arrow":
        with source.reading():
            return int(pl.scan_ipc(source.path, glob=False).select(pl.len()).collect().item())
    with source.path.open("rb") as file:
        head = file.read(_GUESS_BYTES)
    return source.path.stat().st_size * max(1, head.count(b"\n")) // max(1, len(head))
