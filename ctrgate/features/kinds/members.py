"""The aligned columns of a sequence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator

from ctrgate.config import settings
from ctrgate.features.encodings import Encoding, Missing, Value, VocabularyEncoding
from ctrgate.features.kinds.kind import Name, OneColumn
from ctrgate.features.statistics import Transform

__all__ = ["CategoricalMember", "Member", "NumericMember"]


@settings
class CategoricalMember(OneColumn):
    """One column of categories in a sequence."""

    kind: Literal["categorical"] = "categorical"
    name: Name
    """Of the member within its group."""
    column: str = ""
    """The raw column; the member's name by default."""
    encoding: Encoding = VocabularyEncoding()
    """How values become rows of the table."""
    missing: Missing = "value"
    """What a missing value reads: a row of its own, the unknown row, or zeros."""
    share: str = ""
    """Name of the table it reads, such as the target item's; ``GROUP/MEMBER`` by default."""
    drop: tuple[Value, ...] = ()
    """Values that are no event: the whole position is left out, in every member."""


@settings
class NumericMember(OneColumn):
    """One column of numbers in a sequence."""

    kind: Literal["numeric"] = "numeric"
    name: Name
    """Of the member within its group."""
    column: str = ""
    """The raw column; the member's name by default."""
    transform: Transform = "standard"
    """As of a numeric feature."""
    fill: float | None = None
    """The raw number that stands for a missing one; by default the train mean, taken after the transform."""


Member = Annotated[CategoricalMember | NumericMember, Discriminator("kind")]
"""One of the aligned columns of a sequence."""
