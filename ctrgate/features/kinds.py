"""The settings of every kind of feature: what a dataset declares under ``features``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field

from ctrgate.config import settings
from ctrgate.features.log import Log

__all__ = [
    "Bag",
    "Boundaries",
    "Bucketized",
    "Categorical",
    "CategoricalMember",
    "Cross",
    "Encoding",
    "Feature",
    "Features",
    "FloorLogSquared",
    "HashEncoding",
    "IdentityEncoding",
    "Log",
    "Member",
    "Missing",
    "Name",
    "Numeric",
    "NumericMember",
    "Quantiles",
    "SequenceFeature",
    "Transform",
    "Vector",
    "VocabularyEncoding",
    "WeightedBag",
    "columns_read",
    "encodings",
    "member_column",
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
    salt: str = ""
    """Changes the hash; the table's name by default."""


@settings
class IdentityEncoding:
    """The integers 0 to ``num_values - 1`` are rows already (shifted by 2); any other value is unknown."""

    kind: Literal["identity"] = "identity"
    num_values: int = Field(ge=1)


Encoding = Annotated[VocabularyEncoding | HashEncoding | IdentityEncoding, Discriminator("kind")]


@settings
class Categorical:
    """One category per row, an integer or a string."""

    kind: Literal["categorical"] = "categorical"
    name: Name
    column: str = ""
    """The raw column; the feature's name by default."""
    encoding: Encoding = VocabularyEncoding()
    missing: Missing = "value"
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
class Numeric:
    """One number per row; NaN is missing, an infinity is an error."""

    kind: Literal["numeric"] = "numeric"
    name: Name
    column: str = ""
    """The raw column; the feature's name by default."""
    transform: Transform = "standard"
    fill: float | None = None
    """The raw number that stands for a missing one; by default the train mean, taken after the transform."""
    indicator: bool = False
    """Whether a second number ``NAME:missing`` says 1 where the number is missing."""
    when_scoring: float | None = None
    """A number read for every row that is scored."""


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


@settings
class Bucketized:
    """A number read as the category of its bucket."""

    kind: Literal["bucketized"] = "bucketized"
    name: Name
    column: str = ""
    """The raw column; the feature's name by default."""
    buckets: Annotated[Quantiles | Boundaries | FloorLogSquared, Discriminator("kind")]
    missing: Missing = "value"
    when_scoring: float | None = None
    """A number read for every row that is scored."""


@settings
class Cross:
    """The combination of several categories; a missing part is a value like any other."""

    kind: Literal["cross"] = "cross"
    name: Name
    columns: tuple[str, ...] = Field(min_length=2)
    encoding: Annotated[VocabularyEncoding | HashEncoding, Discriminator("kind")] = VocabularyEncoding()
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""


@settings
class Bag:
    """Any number of categories per row, pooled into one vector; missing entries are left out."""

    kind: Literal["bag"] = "bag"
    name: Name
    column: str = ""
    """A list column, or a string column with ``separator``; the feature's name by default."""
    columns: tuple[str, ...] = ()
    """Instead of ``column``: 0/1 columns, each of which is a category by its own name."""
    separator: str = ""
    """What stands between the entries of a string column; an empty string is an empty bag."""
    encoding: Encoding = VocabularyEncoding()
    pooling: Literal["sum", "mean"] = "mean"
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""
    drop: tuple[Value, ...] = ()
    """Entries that are no category, such as a filling 0."""

    def __post_init__(self) -> None:
        if self.columns and (self.column or self.separator):
            raise ValueError("a bag is given by columns, or by one column (with a separator), not by both")


@settings
class WeightedBag:
    """A bag whose entries have weights; a weight that is missing counts as 0."""

    kind: Literal["weighted_bag"] = "weighted_bag"
    name: Name
    column: str = ""
    """A list column; the feature's name by default."""
    weights: str
    """The list column of weights, of the same length in every row."""
    encoding: Encoding = VocabularyEncoding()
    pooling: Literal["sum", "mean"] = "sum"
    share: str = ""
    """Name of the table it reads; the feature's own name by default."""
    drop: tuple[Value, ...] = ()
    """Entries that are no category, such as a filling 0."""


@settings
class CategoricalMember:
    """One column of categories in a sequence."""

    kind: Literal["categorical"] = "categorical"
    name: Name
    column: str = ""
    """The raw column; the member's name by default."""
    encoding: Encoding = VocabularyEncoding()
    missing: Missing = "value"
    share: str = ""
    """Name of the table it reads, such as the target item's; ``GROUP/MEMBER`` by default."""
    drop: tuple[Value, ...] = ()
    """Values that are no event: the whole position is left out, in every member."""


@settings
class NumericMember:
    """One column of numbers in a sequence."""

    kind: Literal["numeric"] = "numeric"
    name: Name
    column: str = ""
    """The raw column; the member's name by default."""
    transform: Transform = "standard"
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
    members: tuple[Member, ...] = Field(min_length=1)
    max_length: int = Field(ge=1)
    separator: str = ""
    """For string columns: what stands between the entries."""
    log: Log | None = None
    """Build the histories from the dataset's own rows; ``{}`` takes every row as an event."""

    def __post_init__(self) -> None:
        if self.log is not None and self.separator:
            raise ValueError("separator parts text into entries, but with log the members hold one value per row")


@settings
class Vector:
    """A pretrained vector per row, a list of ``width`` floats; a missing one, or a missing entry, is zero."""

    kind: Literal["vector"] = "vector"
    name: Name
    column: str = ""
    """The raw column; the feature's name by default."""
    width: int = Field(ge=1)


Feature = Annotated[
    Categorical | Numeric | Bucketized | Cross | Bag | WeightedBag | SequenceFeature | Vector, Discriminator("kind")
]


def columns_read(feature: Feature, *, scoring: bool = False, log: bool = False) -> tuple[str, ...]:
    """The raw columns a feature needs; none where a constant stands for them in scoring.

    Args:
        feature: Any feature.
        scoring: Whether rows are scored.
        log: For histories that are built from the log: its columns, instead of those of the lists.
    """
    if isinstance(feature, Categorical | Numeric | Bucketized):
        unknown = isinstance(feature, Categorical) and feature.unknown_when_scoring
        constant = scoring and (unknown or feature.when_scoring is not None)
        return () if constant else (feature.column or feature.name,)
    if isinstance(feature, Cross):
        return feature.columns
    if isinstance(feature, SequenceFeature):
        if feature.log is None or not log:
            return tuple(member_column(feature, member) for member in feature.members)
        members = (member.column or member.name for member in feature.members)
        return tuple(dict.fromkeys([*members, *filter(None, [feature.log.column])]))
    if isinstance(feature, WeightedBag):
        return (feature.column or feature.name, feature.weights)
    if isinstance(feature, Bag) and feature.columns:
        return feature.columns
    return (feature.column or feature.name,)


def member_column(group: SequenceFeature, member: Member) -> str:
    """The column of a member's lists: its own, or ``GROUP/MEMBER`` where histories are built from the log."""
    return f"{group.name}/{member.name}" if group.log is not None else member.column or member.name


def encodings(features: Iterable[Feature]) -> dict[str, Encoding]:
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
        return [(member.share or f"{feature.name}/{member.name}", member.encoding) for member in members]
    if isinstance(feature, Categorical | Cross | Bag | WeightedBag):
        return [(feature.share or feature.name, feature.encoding)]
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
        encodings(features)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return features


Features = Annotated[tuple[Feature, ...], AfterValidator(_consistent), Field(min_length=1)]
"""The features of a dataset, each name once, and tables shared only with equal encodings."""
