"""What an exported model asks of raw rows and what it answers, read from its folder without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import polars as pl

from ctrgate.artifact.calibration import CALIBRATION
from ctrgate.artifact.manifest import Manifest
from ctrgate.errors import ArtifactError
from ctrgate.features.encoder import Encoder
from ctrgate.features.rawfile import UNREADABLE
from ctrgate.folders import ENCODER

__all__ = [
    "GOLDEN",
    "RANKED",
    "TOP_K",
    "Interface",
    "Score",
    "needed_packages",
    "probability_columns",
    "read_golden",
    "score_columns",
]

Score = Literal["score", "logit", "calibrated"]
"""What a model says of a row: a probability, its log odds, and the probability by a fitted curve."""

GOLDEN = "golden/rows.parquet"
RANKED = ("row", "rank", "item", "score")
"""What a model that ranks items gives, several rows for each."""
TOP_K = 10
"""How many, unless it is told."""
_PACKAGES = ("torch", "numpy", "polars", "pyarrow", "pydantic", "PyYAML", "rich", "safetensors")
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The columns of a model.

    Args:
        columns: The raw columns that it reads, with their types: integers or text for categories as they were learnt,
            floats for numbers, lists for bags, histories and vectors, text for those that are split.
        outputs: What it answers: probabilities by label, or ``RANKED``.
        example: A few made-up rows.
    """

    columns: Mapping[str, pl.DataType]
    outputs: tuple[str, ...]
    example: pl.DataFrame

    @property
    def params(self) -> Mapping[str, int]:
        """What it may be told besides rows, with defaults."""
        return {"top_k": TOP_K} if self.outputs == RANKED else {}

    @classmethod
    def of(cls, folder: Path) -> Interface:
        """The interface of an exported folder.

        Raises:
            ConfigError: Where there is no artifact.
            ArtifactError: Where it is damaged.
        """
        manifest, golden = Manifest.read(folder), read_golden(folder)
        features = Encoder.load(folder / ENCODER).features
        read = [raw for feature in features for raw in feature.raw_columns(scoring=True)]
        split = {raw.column for raw in read if raw.separator}
        calibrated = CALIBRATION in manifest.parts
        fewest_nulls = golden.select(order=pl.sum_horizontal(pl.all().is_null()).arg_sort())["order"]
        return cls(
            columns={name: pl.String() if name in split else kind for name, kind in golden.schema.items()},
            outputs=probability_columns(manifest.labels, calibrated=calibrated) if manifest.labels else RANKED,
            example=golden[fewest_nulls[:_EXAMPLES]],
        )


def score_columns(kind: Score, labels: Sequence[str]) -> dict[str, str]:
    """By label the column of what is said of it: its kind, and with several labels its name behind that.

    Example:
        >>> score_columns("logit", ["click", "buy"])
        {'click': 'logit:click', 'buy': 'logit:buy'}
    """
    return {label: f"{kind}:{label}" if len(labels) > 1 else kind for label in labels}


def probability_columns(labels: Sequence[str], *, calibrated: bool) -> tuple[str, ...]:
    """``score`` and, where a curve was fitted, ``calibrated``, label by label.

    Example:
        >>> probability_columns(["click", "buy"], calibrated=False)
        ('score:click', 'score:buy')
    """
    kinds: tuple[Score, ...] = ("score", "calibrated") if calibrated else ("score",)
    columns = [score_columns(kind, labels) for kind in kinds]
    return tuple(of[label] for label in labels for of in columns)


def needed_packages() -> tuple[str, ...]:
    """All that scoring needs besides ctrgate, in the versions installed here; without those of a local build."""
    return tuple(f"{name}=={version(name).partition('+')[0]}" for name in _PACKAGES)


def read_golden(folder: Path) -> pl.DataFrame:
    """The made-up rows that an artifact is checked by.

    Raises:
        ArtifactError: They cannot be read.
    """
    try:
        return pl.read_parquet(folder / GOLDEN)
    except (OSError, *UNREADABLE) as error:
        raise ArtifactError(f"{folder / GOLDEN} cannot be read: {error}; export the run again") from error
