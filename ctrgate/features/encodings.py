"""The settings of how values become rows of a table: values by their encoding, numbers by their buckets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from ctrgate.config import settings

__all__ = [
    "Boundaries",
    "Buckets",
    "Encoding",
    "FloorLogSquared",
    "HashEncoding",
    "IdentityEncoding",
    "Missing",
    "Quantiles",
    "Value",
    "VocabularyEncoding",
]

Missing = Literal["value", "unknown", "zero"]
"""What a missing category reads: its own trained row, the unknown row 1, or the padding row 0."""
Value = int | str
"""A category."""


@settings
class VocabularyEncoding:
    """Each frequent value has a row of its own, the others read the unknown row."""

    kind: Literal["vocabulary"] = "vocabulary"
    min_count: int = Field(default=1, ge=1)
    """How often a value must have been seen, over all fits so far, to be given a row."""
    max_size: int | None = Field(default=None, ge=1)
    """Most values that have rows at one time; the most frequent ones come first."""
    retire_after: int | None = Field(default=None, ge=1)
    """Fits in a row that may pass without a value before it is retired and reads the unknown row; None: never."""


@settings
class HashEncoding:
    """Row ``2 + xxh64(value) mod num_buckets``: nothing is learnt, and values may collide."""

    kind: Literal["hash"] = "hash"
    num_buckets: int = Field(ge=1)
    """Rows that values may fall on."""
    salt: str = ""
    """Changes the hash; the table's name by default."""


@settings
class IdentityEncoding:
    """The integers 0 to ``num_values - 1`` are rows already (shifted by 2); any other value is unknown."""

    kind: Literal["identity"] = "identity"
    num_values: int = Field(ge=1)
    """How many there are, 0 among them."""


Encoding = Annotated[VocabularyEncoding | HashEncoding | IdentityEncoding, Discriminator("kind")]


@settings
class Quantiles:
    """Buckets that hold about equally many train rows."""

    kind: Literal["quantiles"] = "quantiles"
    count: int = Field(ge=2)
    """Number of buckets; fewer where a frequent number fills several."""


@settings
class Boundaries:
    """Bucket i holds ``values[i - 1] < x <= values[i]``."""

    kind: Literal["boundaries"] = "boundaries"
    values: tuple[float, ...] = Field(min_length=1)
    """Rising numbers; n of them make n + 1 buckets."""

    def __post_init__(self) -> None:
        if any(low >= high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise ValueError("the boundaries must rise")


@settings
class FloorLogSquared:
    """``floor(ln(x)^2)`` for x > 2, else the whole part of x, as the Criteo benchmarks have it.

    As there, some numbers up to 2 share a bucket with larger ones: 1 and 3 both give 1.
    """

    kind: Literal["floor_log_squared"] = "floor_log_squared"
    min_count: int = Field(default=1, ge=1)
    """How often a bucket must have been seen to be given a row."""


Buckets = Annotated[Quantiles | Boundaries | FloorLogSquared, Discriminator("kind")]
