"""Score raw rows with an exported model: Parquet or CSV in, Parquet with keys and scores out."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from ctrgate.cluster.settings import ClusterConfig
from ctrgate.config import Place, settings
from ctrgate.features.dataset import DatasetConfig
from ctrgate.scoring.settings import ScoreSettings
from ctrgate.tracking import TrackingConfig

__all__ = ["Config", "ScoreSettings", "run"]


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
    from ctrgate.scoring.carry_out import carry_out, tell  # bring torch, which the settings alone do not need
    from ctrgate.scoring.job import open_job

    job = open_job(
        config.score,
        into=Path(config.score.into or Path("scores") / config.name),
        reference=config.score.model or str(Path(config.runs) / config.name / "artifact"),
        dataset=config.dataset,
        tracking=config.tracking,
    )
    return tell(job) if config.score.dry_run else carry_out(job, cluster=config.cluster)
