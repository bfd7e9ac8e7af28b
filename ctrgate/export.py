"""Write a trained run as one folder that scores raw rows without the training stack, and prove that it scores alike."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ctrgate.artifact.settings import ExportSettings
from ctrgate.config import Place, settings
from ctrgate.tracking import TrackingConfig

__all__ = ["Config", "ExportSettings", "run"]


@settings
class Config:
    """The sections that ``export`` reads; the rest it takes from the run's own config.yaml."""

    name: str
    """The run."""
    runs: Place = "runs"
    """Where run folders lie."""
    export: ExportSettings = field(default_factory=ExportSettings)
    """What is written where."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the artifact is logged."""


def run(config: Config) -> dict[str, Any]:
    """Write the artifact of a run; it appears only once it is loaded back and scores as the checkpoint does.

    The artifact computes in fp32, also for a run that was trained in bf16; it is compared with the checkpoint in fp32.
    Rows of values that a search has dropped are left out, and so are tables without any other.

    Returns:
        The folder, its identity, step, bytes, the largest differences of logits on golden and on real rows, the parity
        of each form, and the rows and bytes of tables that rounding and selection saved.

    Raises:
        ConfigError: Where there is no such run, it still searches for values, or the folder holds something else; where
            ONNX is asked for, its packages are not there or it has no form of an operator.
        HeldBackError: Where artifact and checkpoint differ; nothing is written.
    """
    from ctrgate.exporting.carry_out import carry_out  # brings torch, which the settings alone do not need

    return carry_out(config.export, name=config.name, runs=config.runs, tracking=config.tracking)
