"""Score raw rows with an exported model: Parquet or CSV in, Parquet with keys and scores out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ctrgate
from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.forms import COMPILED
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.config import Place, dump, settings
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.files import locked, put_back, writing
from ctrgate.metrics.histogram import EDGES, Counts, added
from ctrgate.progress import bar, console, warned_of
from ctrgate.scoring.agenda import Agenda
from ctrgate.scoring.folder import SUCCESS, Log, WorkFolder, changed_parts, digest, recorded
from ctrgate.scoring.inputs import Input, open_inputs, tables_of
from ctrgate.scoring.model import Model, resolve
from ctrgate.scoring.scorer import Order, Part
from ctrgate.scoring.settings import ScoreSettings
from ctrgate.scoring.skew import counts_of, feature_shifts, logit_shifts
from ctrgate.scoring.workers import work
from ctrgate.tracking import TrackingConfig

__all__ = ["SUCCESS", "Config", "ScoreSettings", "run"]

_FORMAT_VERSION = 2
_DECIDING = ("unit_rows", "batch_rows", "top_k", "threads")
"""The settings that scores, or how they lie in files, depend on."""
_LIBRARIES = ("torch", "polars", "pyarrow", "numpy")


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
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Where the processes of ``score.ray`` run."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """The store whose registry knows the model, where ``score.model`` is ``models:/…``."""


def run(config: Config) -> dict[str, Any]:
    """Write Parquet parts of scores for each raw file, and ``_SUCCESS``; the folder appears whole or not at all.

    Columns: the keys that ``roles.keys`` names (``file`` and ``row`` where it names none), then ``score`` (the
    probability) and ``logit``, with several labels ``score:LABEL`` and ``logit:LABEL`` of each. An artifact with
    a calibration adds ``calibrated``, the probability by it. Rows keep their order.
    A model that ranks items gives ``score.top_k`` rows for each: ``rank`` from 1, ``item`` (its raw value) and
    ``score`` (what items are ordered by, no probability).

    A job that was stopped, however, is gone on with by the same call, and ends with the same bytes as one that was not;
    until then, what is finished lies in a hidden folder beside its place. A finished job is not done again.

    Returns:
        The folder, rows, files, and rows per second.

    Raises:
        ConfigError: Where the settings do not fit the model, or the folder holds something else.
        SchemaError: Naming the file and the columns that it lacks.
        DataError: Naming the file, and the row, that cannot be used.
        ArtifactError: Where the model is damaged or was changed.
        HeldBackError: All is in place, but files were left out; or nothing is, as scores are not distributed as
            earlier ones were.
    """
    score, into = config.score, Path(config.score.into or Path("scores") / config.name)
    model = _model(config, into)
    artifact = Artifact.load(model.folder, form=score.form, trusted=model.identity or score.trusted)
    dataset = _dataset(config, artifact)
    inputs = open_inputs(
        score.files,
        artifact=artifact,
        dataset=dataset,
        unit_rows=score.unit_rows,
        skip=score.on_bad_file == "skip",
    )
    job = _job(score, artifact=artifact, model=model, dataset=dataset, inputs=inputs)
    if score.dry_run:
        _is_finished(into, job, replace=score.replace)
        return _told_only(into, model=model, artifact=artifact, inputs=inputs)
    earlier = counts_of(Path(score.like)) if score.like else None
    kept = "what is scored is kept, and the same command goes on from there"
    started = time.monotonic()
    with (
        writing(into, setting="score.into", kept=kept),
        locked(into.with_name(f".{into.name}.lock"), what=f"the scores {into}"),
    ):
        put_back(into)
        success = _is_finished(into, job, replace=score.replace)
        if success is not None:
            console.print(f"{into} holds these scores already; nothing is done")
            return _result(into, success, seconds=None)
        folder = WorkFolder(into, job=job)
        folder.begin(_origin(model, artifact))
        if folder.whole is None:
            order = _order(score, artifact=artifact, model=model, dataset=dataset, inputs=inputs, folder=folder.path)
            with folder.log() as log:
                _work(order, artifact=artifact, inputs=inputs, log=log, score=score, cluster=config.cluster)
                success = _success(artifact, model=model, job=job, inputs=inputs, log=log)
                _check_skew(artifact, success["histogram"], earlier=earlier, score=score)
                folder.finish(success)
        success = folder.whole
        assert success is not None
        folder.publish()
    return _result(into, success, seconds=time.monotonic() - started)


def _model(config: Config, into: Path) -> Model:
    """The model that the run file names; a job that is gone on with keeps the version that it began with."""
    reference = config.score.model or str(Path(config.runs) / config.name / "artifact")
    if config.score.replace:
        return resolve(reference, tracking=config.tracking)
    finished, begun = recorded(into)
    origins = [each.origin for each in (*begun, *([finished] if finished else []))]
    pinned = next((origin for origin in origins if origin.get("reference") == reference), None)
    verify = config.score.form in COMPILED
    return resolve(reference, tracking=config.tracking, pinned=pinned, verify=verify)


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


def _job(
    score: ScoreSettings, *, artifact: Artifact, model: Model, dataset: DatasetConfig, inputs: Sequence[Input]
) -> dict[str, Any]:
    """All that the bytes of the scores depend on."""
    return {
        "model": {"identity": artifact.identity, "name": model.name, "version": model.version},
        "files": digest([each.identity for each in inputs]),
        "tables": digest(tables_of(dataset)),
        "dataset": digest(dump(dataset)),
        "settings": {name: getattr(score, name) for name in _DECIDING} | {"form": artifact.form},
        "versions": {"ctrgate": ctrgate.__version__, **{name: version(name) for name in _LIBRARIES}},
    }


def _origin(model: Model, artifact: Artifact) -> dict[str, Any]:
    return {
        "reference": model.reference,
        "folder": str(model.folder),
        "version": model.version,
        "identity": artifact.identity,
    }


def _is_finished(into: Path, job: Mapping[str, Any], *, replace: bool) -> Mapping[str, Any] | None:
    """What ``_SUCCESS`` says where the very scores lie there already.

    Raises:
        ConfigError: Where something else does, and is not to be replaced.
    """
    finished, begun = recorded(into)
    if finished is not None:
        difference = finished.differs(job)
        if difference is None and finished.success is not None:
            changed = changed_parts(finished.folder, finished.success)
            if not changed:
                return finished.success
            if not replace:
                raise ConfigError(f"{into / changed[0]} is not as it was written; score.replace=true scores again")
        elif not replace:
            raise _other(into, f"holds scores of {difference}")
    for each in begun:
        if (difference := each.differs(job)) is not None and not replace:
            raise _other(into, f"was begun with {difference} and is not finished")
    return None


def _other(into: Path, found: str) -> ConfigError:
    return ConfigError(f"{into} {found}; set score.into to another place, or score.replace=true")


def _told_only(into: Path, *, model: Model, artifact: Artifact, inputs: Sequence[Input]) -> dict[str, Any]:
    for each in inputs:
        what = f"leave out ({each.bad})" if each.bad else f"score in {len(each.units)} parts"
        console.print(f"{each.path} ({each.num_bytes:,} bytes): would {what}")
    console.print(f"would write {into}, with the model {artifact.manifest.model} of {model.folder}")
    return {"dry_run": True, "into": str(into), "files": len(inputs)}


def _order(
    score: ScoreSettings,
    *,
    artifact: Artifact,
    model: Model,
    dataset: DatasetConfig,
    inputs: Sequence[Input],
    folder: Path,
) -> Order:
    about = {"ctrgate.model": artifact.identity, "ctrgate.encoder": artifact.manifest.encoder}
    if model.name is not None:
        about |= {"ctrgate.model_name": model.name, "ctrgate.model_version": str(model.version)}
    return Order(
        artifact=str(model.folder),
        identity=artifact.identity,
        form=artifact.form,
        dataset=dataset,
        files=tuple(each.path for each in inputs),
        folder=str(folder),
        batch_rows=score.batch_rows,
        top_k=score.top_k,
        threads=score.threads,
        about=about,
    )


def _work(
    order: Order,
    *,
    artifact: Artifact,
    inputs: Sequence[Input],
    log: Log,
    score: ScoreSettings,
    cluster: ClusterConfig,
) -> None:
    agenda = Agenda(inputs, log=log, skip=score.on_bad_file == "skip")
    if log.parts:
        console.print(f"going on: {len(log.parts):,} parts are scored, {agenda.rows:,} rows are left")
    with bar("scoring", total=agenda.rows) as progress:
        where = cluster if score.ray else None
        work(
            order,
            agenda=agenda,
            artifact=artifact,
            processes=score.processes,
            cluster=where,
            advance=progress.advance,
        )


def _success(
    artifact: Artifact, *, model: Model, job: Mapping[str, Any], inputs: Sequence[Input], log: Log
) -> dict[str, Any]:
    manifest = artifact.manifest
    bad = {number: each.bad for number, each in enumerate(inputs) if each.bad is not None}
    bad |= {number: why for number, (_, why) in log.bad.items()}
    parts = [part for _, part in sorted(log.parts.items()) if part.file not in bad]
    files = [
        {
            **each.identity,
            "rows": sum(unit.rows for unit in each.units),
            "parts": [_listed(part) for part in parts if part.file == number],
        }
        for number, each in enumerate(inputs)
        if number not in bad
    ]
    return {
        "format_version": _FORMAT_VERSION,
        "rows": sum(part.rows for part in parts),
        "files": files,
        "skipped": [{"path": inputs[number].path, "why": why} for number, why in sorted(bad.items())],
        "model": {
            "identity": artifact.identity,
            "name": manifest.model,
            "run": manifest.origin.run,
            "step": manifest.origin.step,
            "ctrgate_version": manifest.ctrgate_version,
            "registered": None if model.name is None else {"name": model.name, "version": model.version},
        },
        "encoder": manifest.encoder,
        "labels": list(manifest.labels),
        "histogram": {
            "edges": list(EDGES),
            "logits": added(part.histogram for part in parts),
            "features": added(part.features for part in parts),
        },
        "job": job,
        "origin": _origin(model, artifact),
    }


def _check_skew(
    artifact: Artifact, histogram: Mapping[str, Any], *, earlier: Counts | None, score: ScoreSettings
) -> None:
    """Tell, or hold back, rows and scores that are not distributed as those that the model knows, or earlier ones."""
    held_out = f"the rows that {artifact.manifest.origin.run} held out"
    known = artifact.snapshot.logits if artifact.snapshot else {}
    of_logits = logit_shifts(known if earlier is None else earlier, histogram["logits"])
    of_features = feature_shifts(artifact, histogram["features"])
    told = [
        f"the {what} of {of.name} are not distributed as in {like}: PSI {of.value:.3f}, allowed is {limit:g}{of.where}"
        for what, like, limit, shifts in (
            ("logits", score.like or held_out, score.max_psi, of_logits),
            ("values", held_out, score.max_feature_psi, of_features),
        )
        for of in shifts
        if of.exceeds(limit)
    ]
    if told and score.on_skew == "stop":
        told.append("all is scored, but has not taken its place. The same command with score.on_skew=warn lets it")
        raise HeldBackError("\n".join(told))
    for each in told:
        warned_of(f"warning: {each}")


def _listed(part: Part) -> dict[str, Any]:
    return {"part": part.part, "rows": part.rows, "num_bytes": part.num_bytes, "sha256": part.sha256}


def _result(into: Path, success: Mapping[str, Any], *, seconds: float | None) -> dict[str, Any]:
    rows, skipped = success["rows"], success["skipped"]
    rate = None if seconds is None else rows / max(seconds, 1e-9)
    if rate is not None:
        console.print(f"{into}: {rows:,} rows of {len(success['files'])} files, {rate:,.0f} rows/s")
    if skipped:
        told = "\n".join(f"  {each['why']}" for each in skipped)
        raise HeldBackError(
            f"{into} is finished, but {len(skipped)} files could not be scored and are left out:\n{told}"
        )
    return {
        "into": str(into),
        "rows": rows,
        "files": len(success["files"]),
        "rows_per_second": rate,
        "model": success["model"]["identity"],
        "model_version": success["model"]["registered"] and success["model"]["registered"]["version"],
        "done_before": seconds is None,
    }
