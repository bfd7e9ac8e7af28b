"""The curve of an artifact from logits to calibrated probabilities, as it is written and applied; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ctrgate.artifact.part import read_part, write_part
from ctrgate.config import settings
from ctrgate.errors import ArtifactError
from ctrgate.metrics.calibration import sigmoid
from ctrgate.ranges import Positive

__all__ = ["CALIBRATION", "Calibration", "Isotonic", "Platt", "log_odds"]

CALIBRATION = "calibration.json"
_FORMAT_VERSION = 1


@settings
class Platt:
    """``sigmoid(slope x + intercept)``."""

    method: Literal["platt"] = "platt"
    slope: Positive
    intercept: float

    def __call__(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities, of the logits' shape."""
        return sigmoid(self.slope * logits + self.intercept)


@settings
class Isotonic:
    """Knots with straight lines between them; beyond the outer ones the curve is level."""

    method: Literal["isotonic"] = "isotonic"
    logits: Annotated[tuple[float, ...], Field(min_length=1)]
    """Strictly rising."""
    probabilities: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    """Not falling."""

    def __post_init__(self) -> None:
        if len(self.logits) != len(self.probabilities):
            raise ValueError(f"{len(self.logits)} logits have {len(self.probabilities)} probabilities")
        if any(a >= b for a, b in zip(self.logits, self.logits[1:], strict=False)):
            raise ValueError("the knots' logits must rise")
        if any(a > b for a, b in zip(self.probabilities, self.probabilities[1:], strict=False)):
            raise ValueError("the knots' probabilities must not fall")

    def __call__(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities, of the logits' shape."""
        return np.interp(logits, self.logits, self.probabilities)


@settings
class Calibration:
    """A curve for each label."""

    format_version: int = _FORMAT_VERSION
    split: str
    """The rows that it was fitted on."""
    curves: tuple[Annotated[Platt | Isotonic, Field(discriminator="method")], ...]
    """In the labels' order."""

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities of logits ``(n, L)``, likewise; equal logits stay equal and no order is turned round."""
        columns = [curve(logits[:, place].astype(np.float64)) for place, curve in enumerate(self.curves)]
        return np.stack(columns, axis=1)

    def write(self, folder: Path) -> None:
        """Write it into an artifact's folder."""
        write_part(folder / CALIBRATION, self)

    @classmethod
    def read(cls, folder: Path, *, labels: Sequence[str]) -> Calibration:
        """Read that of an artifact.

        Raises:
            ArtifactError: Where it is damaged, of another format, or for other labels.
        """
        path = folder / CALIBRATION
        found = read_part(path, cls, version=_FORMAT_VERSION)
        if len(found.curves) != len(labels):
            raise ArtifactError(f"{path} has {len(found.curves)} curves for {len(labels)} labels; export the run again")
        return found


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the sigmoid, for probabilities above 0 and below 1.

    Example:
        >>> float(log_odds(np.array([0.75]))[0])
        1.0986...
    """
    return np.log(probabilities) - np.log1p(-probabilities)
