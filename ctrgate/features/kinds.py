"""The settings of every kind of feature: what a dataset declares under ``features``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, TypeGuard

from pydantic import AfterValidator, Discriminator, Field

from ctrgate.config import settings
from ctrgate.features.encodings import (
    Buckets,
    Encoding,
    FloorLogSquared,
    HashEncoding,
    IdentityEncoding,
    Quantiles,
    VocabularyEncoding,
)
from ctrgate.features.log import Log

__all__ = [
    "Bag",
    "Bucketized",
    "Categorical",
    "CategoricalMember",
    "Cross",
    "Feature",
    "Features",
    "Log",
    "Member",
    "Missing",
    "Name",
    "Numeric",
    "NumericMember",
    "SequenceFeature",
    "Transform",
    "Vector",
    "WeightedBag",
    "columns_read",
    "is_logged",
    "table_encodings",
]

Missing = Literal["value", "unknown", "zero"]
"""What a missing category reads: its own trained row, the unknown row 1, or the padding row 0."""
Transform = Literal["standard", "log", "minmax", "none"]
"""``(x - mean) / std``; ``sign(x) log(1 + |x|)``; ``(x - min) / (max - min)`` clipped to [0, 1]; ``x``."""


def _plain(name: str) -> str:
    if not name or ":" in name or "/" in name:
        raise ValueError(f"{name!r} cannot name a feature: a name is not empty and holds neither ':' nor '/'")
    return name


Name = Annotated[str, AfterValidator(_plain)]
Value = int | str


class _OneColumn:
    """What reads one raw column."""

    name: str
    column: str

    @property
    def source(self) -> str:
        """The raw column: ``column``, or the one of its own name."""
        return self.column or self.name


class _OneTable:
    """What reads one table."""

    name: str
    share: str

    @property
    def table(self) -> str:
        """The table: the one that it shares, or the one of its own name."""
        return self.share or self.name


@settings
class Categorical(_OneColumn, _OneTable):
    """One category per row, an integer or a string."""

    kind: Literal["categorical"] = "categorical"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    column: str = ""
    """The raw column; the feature's name by default."""
    encoding: Encoding = VocabularyEncoding()
    """How values become rows of the table."""
    missing: Missing = "value"
    """What a missing value reads: a row of its own, the unknown row, or zeros."""
    share: str = ""
    """Name of the table it reads, for features that share one; the feature's own name by default."""
    when_scoring: Value | None = None
    """A value read for every row that is scored, for what is not known then (the position of an advertisement)."""
    unknown_when_scoring: bool = False
    """Whether every row that is scored reads the unknown row, as for the next item, which is to be predicted."""

    def __post_init__(self) -> None:
        if self.unknown_when_scoring and self.when_scoring is not None:
            raise ValueError("when_scoring and unknown_when_scoring are two rules for rows that are scored; give one")


@settings
class Numeric(_OneColumn):
    """One number per row; NaN is missing, an infinity is an error."""

    kind: Literal["numeric"] = "numeric"
    name: Name
    """Of the field."""
    column: str = ""
    """The raw column; the feature's name by default."""
    transform: Transform = "standard"
    """``(x - mean) / std``, ``sign(x) log(1 + |x|)``, ``(x - min) / (max - min)`` clipped to [0, 1], or ``x``."""
    fill: float | None = None
    """The raw number that stands for a missing one; by default the train mean, taken after the transform."""
    indicator: bool = False
    """Whether a second number ``NAME:missing`` says 1 where the number is missing."""
    when_scoring: float | None = None
    """A number read for every row that is scored."""


@settings
class Bucketized(_OneColumn):
    """A number read as the category of its bucket."""

    kind: Literal["bucketized"] = "bucketized"
    name: Name
    """Of the field and of its table."""
    column: str = ""
    """The raw column; the feature's name by default."""
    buckets: Buckets
    """Where they begin and end."""
    missing: Missing = "value"
    """What a missing number reads: a row of its own, the unknown row, or zeros."""
    when_scoring: float | None = None
    """A number read for every row that is scored."""


@settings
class Cross(_OneTable):
    """The combination of several categories; a missing part is a value like any other."""

    kind: Literal["cross"] = "cross"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    columns: tuple[str, ...] = Field(min_length=2)
    """The raw columns that are combined."""
    encoding: Annotated[VocabularyEncoding | HashEncoding, Discriminator("kind")] = VocabularyEncoding()
    """How combinations become rows of the table."""
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""


@settings
class Bag(_OneColumn, _OneTable):
    """Any number of categories per row, pooled into one vector; missing entries are left out."""

    kind: Literal["bag"] = "bag"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    column: str = ""
    """A list column, or a string column with ``separator``; the feature's name by default."""
    columns: tuple[str, ...] = ()
    """Instead of ``column``: 0/1 columns, each of which is a category by its own name."""
    separator: str = ""
    """What stands between the entries of a string column; an empty string is an empty bag."""
    encoding: Encoding = VocabularyEncoding()
    """How entries become rows of the table."""
    pooling: Literal["sum", "mean"] = "mean"
    """Whether the entries' vectors are added up or averaged."""
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""
    drop: tuple[Value, ...] = ()
    """Entries that are no category, such as a filling 0."""

    def __post_init__(self) -> None:
        if self.columns and (self.column or self.separator):
            raise ValueError("a bag is given by columns, or by one column (with a separator), not by both")


@settings
class WeightedBag(_OneColumn, _OneTable):
    """A bag whose entries have weights; a weight that is missing counts as 0."""

    kind: Literal["weighted_bag"] = "weighted_bag"
    name: Name
    """Of the field; also of its table, unless ``share`` names another."""
    column: str = ""
    """A list column; the feature's name by default."""
    weights: str
    """The list column of weights, of the same length in every row."""
    encoding: Encoding = VocabularyEncoding()
    """How entries become rows of the table."""
    pooling: Literal["sum", "mean"] = "sum"
    """The weighted sum of the entries' vectors, or that divided by the sum of the weights."""
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""
    drop: tuple[Value, ...] = ()
    """Entries that are no category, such as a filling 0."""


@settings
class CategoricalMember(_OneColumn):
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
class NumericMember(_OneColumn):
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


@settings
class SequenceFeature:
    """Histories: aligned lists, the oldest first, cut to the last ``max_length``; a missing list is an empty one.

    With ``log``, the members' columns hold one value per row, and ``prepare`` lists for each row what they held in the
    rows of its user (``roles.group``) that came strictly before it (``dataset.same_second``), in the columns
    ``GROUP/MEMBER``. Rows that are scored bring these lists themselves.
    """

    kind: Literal["sequence"] = "sequence"
    name: Name
    """Of the group."""
    members: tuple[Member, ...] = Field(min_length=1)
    """Its columns, aligned: entry i of each belongs to event i."""
    max_length: int = Field(ge=1)
    """Events that are kept, the last ones."""
    separator: str = ""
    """For string columns: what stands between the entries."""
    log: Log | None = None
    """Build the histories from the dataset's own rows; ``{}`` takes every row as an event."""

    def __post_init__(self) -> None:
        if self.log is not None and self.separator:
            raise ValueError("separator parts text into entries, but with log the members hold one value per row")

    def encoded_column(self, member: Member) -> str:
        """The encoded column of a member, ``GROUP/MEMBER``."""
        return f"{self.name}/{member.name}"

    def list_column(self, member: Member) -> str:
        """The raw column of a member's lists: its own, or, where histories are built from the log, ``GROUP/MEMBER``."""
        return member.source if self.log is None else self.encoded_column(member)

    def member_table(self, member: CategoricalMember) -> str:
        """The table of a member: the one that it shares, or ``GROUP/MEMBER``."""
        return member.share or self.encoded_column(member)


@settings
class Vector(_OneColumn):
    """A pretrained vector per row, a list of ``width`` floats; a missing one, or a missing entry, is zero."""

    kind: Literal["vector"] = "vector"
    name: Name
    """Of the field."""
    column: str = ""
    """The raw column; the feature's name by default."""
    width: int = Field(ge=1)
    """Numbers in each vector."""


Feature = Annotated[
    Categorical | Numeric | Bucketized | Cross | Bag | WeightedBag | SequenceFeature | Vector, Discriminator("kind")
]


def is_logged(feature: Feature) -> TypeGuard[SequenceFeature]:
    """Whether it is a sequence whose histories are built from the log."""
    return isinstance(feature, SequenceFeature) and feature.log is not None


def columns_read(feature: Feature, *, scoring: bool = False, log: bool = False) -> tuple[str, ...]:
    """The raw columns a feature needs; none where a constant stands for them in scoring.

    Args:
        feature: Any feature.
        scoring: Whether rows are scored.
        log: For histories that are built from the log: its columns, instead of those of the lists.

    Example:
        >>> position = Categorical(name="position", column="slot", when_scoring=1)
        >>> columns_read(position), columns_read(position, scoring=True)
        (('slot',), ())
    """
    if isinstance(feature, Categorical | Numeric | Bucketized):
        unknown = isinstance(feature, Categorical) and feature.unknown_when_scoring
        constant = scoring and (unknown or feature.when_scoring is not None)
        return () if constant else (feature.source,)
    if isinstance(feature, Cross):
        return feature.columns
    if isinstance(feature, SequenceFeature):
        if feature.log is None or not log:
            return tuple(feature.list_column(member) for member in feature.members)
        members = (member.source for member in feature.members)
        return tuple(dict.fromkeys([*members, *filter(None, [feature.log.column])]))
    if isinstance(feature, WeightedBag):
        return (feature.source, feature.weights)
    if isinstance(feature, Bag) and feature.columns:
        return feature.columns
    return (feature.source,)


def table_encodings(features: Iterable[Feature]) -> dict[str, Encoding]:
    """The tables that the features read and how each is encoded, in the order in which they are first named.

    Raises:
        ValueError: Where features that share a table encode it differently.
    """
    found: dict[str, Encoding] = {}
    for feature in features:
        for table, encoding in _tables(feature):
            if found.setdefault(table, encoding) != encoding:
                raise ValueError(f"{feature.name} shares the table {table}, so both must have the same encoding")
    return found


def _tables(feature: Feature) -> list[tuple[str, Encoding]]:
    if isinstance(feature, SequenceFeature):
        members = [member for member in feature.members if isinstance(member, CategoricalMember)]
        return [(feature.member_table(member), member.encoding) for member in members]
    if isinstance(feature, Categorical | Cross | Bag | WeightedBag):
        return [(feature.table, feature.encoding)]
    if isinstance(feature, Bucketized):
        buckets = feature.buckets
        if isinstance(buckets, FloorLogSquared):
            return [(feature.name, VocabularyEncoding(min_count=buckets.min_count))]
        size = buckets.count if isinstance(buckets, Quantiles) else len(buckets.values) + 1
        return [(feature.name, IdentityEncoding(num_values=size))]
    return []


def _consistent(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    faults = [f"{name} is given twice" for name, n in Counter(f.name for f in features).items() if n > 1]
    for feature in features:
        if isinstance(feature, SequenceFeature):
            members = Counter(member.name for member in feature.members)
            faults += [f"{feature.name} has two members {name}" for name, n in members.items() if n > 1]
    try:
        table_encodings(features)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return features


Features = Annotated[tuple[Feature, ...], AfterValidator(_consistent), Field(min_length=1)]
"""The features of a dataset, each name once, and tables shared only with equal encodings."""
