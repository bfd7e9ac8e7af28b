"""A scoring job: which rows are scored with which model, all that its bytes depend on, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ctrgate
from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.forms import COMPILED
from ctrgate.config import dump
from ctrgate.errors import ConfigError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.metrics.histogram import EDGES, added
from ctrgate.scoring.folder import WorkLog, digest, recorded
from ctrgate.scoring.inputs import Input, open_inputs, tables_of
from ctrgate.scoring.model import Model, resolve
from ctrgate.scoring.scorer import JobOrder, ScoredPart
from ctrgate.scoring.settings import ScoreSettings
from ctrgate.tracking import TrackingConfig

__all__ = ["Job", "open_job"]

_FORMAT_VERSION = 2
_DECIDING = ("unit_rows", "batch_rows", "top_k", "threads")
"""The settings that scores, or how they lie in files, depend on."""
_LIBRARIES = ("torch", "polars", "pyarrow", "numpy")


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What is scored.

    Args:
        settings: How.
        into: Where the scores are to lie.
        model: Where the model was found.
        artifact: The model.
        dataset: How rows are read, joined and keyed.
        inputs: The raw files, cut into units of work.
    """

    settings: ScoreSettings
    into: Path
    model: Model
    artifact: Artifact
    dataset: DatasetConfig
    inputs: Sequence[Input]

    @cached_property
    def key(self) -> Mapping[str, Any]:
        """All that the bytes of the scores depend on."""
        return {
            "model": {"identity": self.artifact.identity, "name": self.model.name, "version": self.model.version},
            "files": digest([each.identity for each in self.inputs]),
            "tables": digest(tables_of(self.dataset)),
            "dataset": digest(dump(self.dataset)),
            "settings": {name: getattr(self.settings, name) for name in _DECIDING} | {"form": self.artifact.form},
            "versions": {"ctrgate": ctrgate.__version__, **{name: version(name) for name in _LIBRARIES}},
        }

    @property
    def origin(self) -> dict[str, Any]:
        """Where the model came from."""
        return {
            "reference": self.model.reference,
            "folder": str(self.model.folder),
            "version": self.model.version,
            "identity": self.artifact.identity,
        }

    def order(self, folder: Path) -> JobOrder:
        """What every process needs to know to score parts into a folder."""
        artifact, model, settings = self.artifact, self.model, self.settings
        about = {"ctrgate.model": artifact.identity, "ctrgate.encoder": artifact.manifest.encoder}
        if model.name is not None:
            about |= {"ctrgate.model_name": model.name, "ctrgate.model_version": str(model.version)}
        return JobOrder(
            artifact=str(model.folder),
            identity=artifact.identity,
            form=artifact.form,
            dataset=self.dataset,
            files=tuple(each.path for each in self.inputs),
            folder=str(folder),
            batch_rows=settings.batch_rows,
            top_k=settings.top_k,
            threads=settings.threads,
            about=about,
        )

    def success(self, log: WorkLog) -> dict[str, Any]:
        """What ``_SUCCESS`` says once the log has every part."""
        manifest, model = self.artifact.manifest, self.model
        bad = {number: each.bad for number, each in enumerate(self.inputs) if each.bad is not None}
        bad |= {number: why for number, (_, why) in log.bad.items()}
        parts = [part for _, part in sorted(log.parts.items()) if part.file not in bad]
        files = [
            {
                **each.identity,
                "rows": sum(unit.rows for unit in each.units),
                "parts": [_listed(part) for part in parts if part.file == number],
            }
            for number, each in enumerate(self.inputs)
            if number not in bad
        ]
        return {
            "format_version": _FORMAT_VERSION,
            "rows": sum(part.rows for part in parts),
            "files": files,
            "skipped": [{"path": self.inputs[number].path, "why": why} for number, why in sorted(bad.items())],
            "model": {
                "identity": self.artifact.identity,
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
            "job": self.key,
            "origin": self.origin,
        }


def open_job(
    settings: ScoreSettings, *, into: Path, reference: str, dataset: DatasetConfig | None, tracking: TrackingConfig
) -> Job:
    """Find the model and the files of a job, and see that they fit each other.

    Args:
        settings: Of the run file.
        into: Where the scores are to lie.
        reference: The model's folder, or its name in the registry.
        dataset: How rows are read, where that is not as in training.
        tracking: The store whose registry knows the model.

    Raises:
        ConfigError: Where the settings do not fit the model.
        SchemaError: Naming the file and the columns that it lacks.
        DataError: Naming the file that cannot be used.
        ArtifactError: Where the model is damaged or was changed.
    """
    model = _model(settings, into, reference=reference, tracking=tracking)
    artifact = Artifact.load(model.folder, form=settings.form, trusted=model.identity or settings.trusted)
    dataset = artifact.dataset if dataset is None else _of_same_features(dataset, artifact)
    inputs = open_inputs(
        settings.files,
        artifact=artifact,
        dataset=dataset,
        unit_rows=settings.unit_rows,
        skip=settings.on_bad_file == "skip",
    )
    return Job(settings=settings, into=into, model=model, artifact=artifact, dataset=dataset, inputs=inputs)


def _model(settings: ScoreSettings, into: Path, *, reference: str, tracking: TrackingConfig) -> Model:
    """The model that the run file names; a job that is gone on with keeps the version that it began with."""
    if settings.replace:
        return resolve(reference, tracking=tracking)
    finished, begun = recorded(into)
    origins = [each.origin for each in (*begun, *([finished] if finished else []))]
    pinned = next((origin for origin in origins if origin.get("reference") == reference), None)
    return resolve(reference, tracking=tracking, pinned=pinned, verify=settings.form in COMPILED)


def _of_same_features(dataset: DatasetConfig, artifact: Artifact) -> DatasetConfig:
    """How rows are read, where its features are those that the model has learnt."""
    ours = {feature.name: feature for feature in dataset.features}
    theirs = {feature.name: feature for feature in artifact.encoder.features}
    if dataset.features != artifact.encoder.features:
        named = sorted(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        raise ConfigError(
            f"dataset.features differ from those that the model has learnt ({', '.join(named) or 'their order'}); "
            "leave the dataset section out to read rows as in training, or train and export again"
        )
    return dataset


def _listed(part: ScoredPart) -> dict[str, Any]:
    return {"part": part.part, "rows": part.rows, "num_bytes": part.num_bytes, "sha256": part.sha256}
