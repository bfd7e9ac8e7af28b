"""The ``promote`` section of a run file, which promote and rollback share."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from pydantic import Field

from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.promotion.rules import Rules
from ctrgate.ranges import Count
from ctrgate.tracking import TrackingConfig

__all__ = ["PromoteSettings", "RegistrySettings"]


@settings
class PromoteSettings:
    """Which registered model, and what a challenger must show to become its champion."""

    model: Annotated[str, Field(pattern=r"^([\w-][\w. -]*)?$")] = ""
    """The name in the registry; the dataset's by default."""
    comparison: Place = ""
    """comparison.json, or its folder: the champion as A, the run as B. None for the first model."""
    refit_of: Place = ""
    """The champion's run folder, where this run is the same model that has learnt later rows too: none are left to
    compare the two on, so it is judged by ``parity`` alone."""
    rules: Rules = field(default_factory=Rules)
    """All must hold."""
    withdraw: Count | None = None
    """For rollback: the version to take out of service; where another is champion, nothing is done."""

    def __post_init__(self) -> None:
        if self.comparison and self.refit_of:
            raise ValueError("comparison and refit_of exclude each other: a refit has seen the rows to compare on")

    def name(self, dataset: DatasetConfig | None) -> str:
        """The model's name.

        Raises:
            ConfigError: Where neither the section nor a dataset gives one.
        """
        if self.model or dataset is not None:
            return self.model or (dataset.name if dataset else "")
        raise ConfigError("promote.model: is required where the run file has no dataset to take its name from")


@settings
class RegistrySettings:
    """The sections that verbs on the registry read."""

    name: str
    """The run in whose folder the record is left; what promote judges is its exported artifact."""
    runs: Place = "runs"
    """Where run folders lie."""
    dataset: DatasetConfig | None = None
    """Whose name the registered model has by default."""
    promote: PromoteSettings = field(default_factory=PromoteSettings)
    """Which registered model, and what a challenger must show."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """The MLflow store with the registry."""

    @property
    def model(self) -> str:
        """The registered model's name."""
        return self.promote.name(self.dataset)
