"""The ``dataset`` section of a run file: which rows, joined with what, labelled and split how, as which features."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from ctrgate.config import Place, settings
from ctrgate.features.kinds.kind import Name
from ctrgate.features.kinds.registry import Features
from ctrgate.features.kinds.sequence import is_logged
from ctrgate.ranges import Share

__all__ = [
    "ByLeaveOneOut",
    "ByOrder",
    "ByRatio",
    "ByTime",
    "ByUser",
    "ColumnType",
    "Csv",
    "DatasetConfig",
    "Join",
    "Label",
    "Roles",
    "Split",
    "Splits",
    "Table",
]

ColumnType = Literal["string", "int", "float", "datetime"]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Places = Annotated[tuple[Place, ...], BeforeValidator(_listed)]


@settings
class Csv:
    """How text files are written; a column is text unless it is used as a number or ``types`` says otherwise."""

    separator: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = None
    """One character; by default a comma, and a tab for files ending in ``.tsv``."""
    header: bool = True
    """Whether the first line names the columns."""
    columns: tuple[str, ...] = ()
    """The names of all columns, where there is no header."""
    types: Mapping[str, ColumnType] = dataclasses.field(default_factory=dict)
    """By column ``string``, ``int``, ``float`` or ``datetime`` (the year first), where it is not to be text."""
    null_values: tuple[str, ...] = ()
    """Texts that mean "missing" besides the empty one."""
    quote: Annotated[str, StringConstraints(max_length=1)] = '"'
    """The quoting character; empty for files that do not quote."""
    encoding: Literal["utf8", "latin-1"] = "utf8"
    """``latin-1`` files are read into memory whole."""

    def __post_init__(self) -> None:
        if self.header == bool(self.columns):
            raise ValueError("give columns where header is false, and only there")


@settings
class Table:
    """How files are read."""

    format: Literal["auto", "parquet", "arrow", "csv"] = "auto"
    """``auto`` goes by the file's ending: .parquet, .arrow (also .ipc, .feather), anything else is CSV."""
    csv: Csv = dataclasses.field(default_factory=Csv)
    """For text files."""


@settings
class Join(Table):
    """A table whose columns are added to every row with the same key; a key that it lacks gives nulls."""

    files: Annotated[Places, Field(min_length=1)]
    """Paths or globs; read into memory."""
    on: Annotated[Names, Field(min_length=1)]
    """The key column or columns, of the same name in both tables; unique in this one."""
    take: Names = ()
    """The columns to add; by default all but the key."""
    prefix: str = ""
    """Put before the names of the columns taken."""


@settings
class Label:
    """A label in {0, 1}: a column as it is, or a rule over one."""

    name: Name
    """The label's name in outputs."""
    column: str = ""
    """By default the column called as the label."""
    at_least: float | None = None
    """1 where the column is this or more (ratings)."""
    equals: int | float | str | None = None
    """1 where the column is exactly this."""
    allow_missing: bool = False
    """Whether a row may lack this label; it then takes no part in this label's loss and metrics."""

    def __post_init__(self) -> None:
        if self.at_least is not None and self.equals is not None:
            raise ValueError("at_least and equals are two rules; give one")

    @property
    def source(self) -> str:
        """The raw column."""
        return self.column or self.name


@settings
class Roles:
    """Columns that are no features by themselves; a column may be a feature as well."""

    group: str = ""
    """The user: grouped metrics, intervals that respect users, the split by user."""
    timestamp: str = ""
    """When the row happened: a datetime (UTC where it names no zone), or a number of ``timestamp_unit`` since 1970."""
    timestamp_unit: Literal["seconds", "milliseconds", "microseconds"] = "seconds"
    """The unit of a timestamp that is a number."""
    order: str = ""
    """An integer that orders rows where there is no clock."""
    weight: str = ""
    """A weight of 0 or more per row."""
    segments: Names = ()
    """Metrics are reported for each value of each of these."""
    keys: Names = ()
    """Carried to the scores as they are, so that these can be joined back."""


@settings
class Splits:
    """The files of each split, where they are given."""

    train: Annotated[Places, Field(min_length=1)]
    """Paths or globs."""
    valid: Places = ()
    """Paths or globs; without any, every epoch is trained."""
    test: Places = ()
    """Paths or globs."""


def _needs_train(*shares: float) -> None:
    if sum(shares) >= 1:
        raise ValueError(f"valid and test take {sum(shares):g} of the rows and leave none to train on")


@settings
class ByTime:
    """Earlier rows train, later ones test; rows of one second stay together."""

    by: Literal["time"] = "time"
    valid_from: int | datetime | None = None
    """The first moment of valid: a datetime (UTC) or seconds since 1970."""
    test_from: int | datetime | None = None
    """The first moment of test."""
    valid: Share = 0.0
    """Instead of ``valid_from``: the share of the rows before test's that are the last in time."""
    test: Share = 0.0
    """Instead of ``test_from``: the share of all rows that are the last in time."""

    def __post_init__(self) -> None:
        _needs_train(self.valid, self.test)
        moments = self.valid_from is not None or self.test_from is not None
        if moments == bool(self.valid or self.test):
            raise ValueError("give valid_from and test_from, or the shares valid and test")


@settings
class ByUser:
    """All rows of a user (``roles.group``) fall in one split, chosen by a stable hash of the user."""

    by: Literal["user"] = "user"
    valid: Share = 0.1
    """Share of the users."""
    test: Share = 0.1
    """Share of the users."""
    seed: int = 0
    """Of the hash: another seed is another split."""

    def __post_init__(self) -> None:
        _needs_train(self.valid, self.test)


@settings
class ByRatio:
    """Each row falls in a split at random, by a stable hash of its place (file, row)."""

    by: Literal["ratio"] = "ratio"
    valid: Share = 0.1
    """Share of the rows."""
    test: Share = 0.1
    """Share of the rows."""
    seed: int = 0
    """Of the hash: another seed is another split."""
    allow_random: bool = False
    """Split rows with a timestamp at random all the same, although train then sees the future of valid and test."""

    def __post_init__(self) -> None:
        _needs_train(self.valid, self.test)


@settings
class ByOrder:
    """The last rows test, the ones before them validate, in the order of the files and of the rows in them."""

    by: Literal["order"] = "order"
    valid: Share = 0.1
    """Share of the rows."""
    test: Share = 0.1
    """Share of the rows."""

    def __post_init__(self) -> None:
        _needs_train(self.valid, self.test)


@settings
class ByLeaveOneOut:
    """A user's last row tests, the one before it validates, the others train; users with too few rows only train.

    Rows are in the order of time (``roles.timestamp``, else ``roles.order``), those of one second in that of files.
    """

    by: Literal["leave_one_out"] = "leave_one_out"
    valid: bool = True
    """Whether a row of each user validates."""
    test: bool = True
    """Whether a row of each user tests."""

    def __post_init__(self) -> None:
        if not (self.valid or self.test):
            raise ValueError("valid and test are both false, so nothing is left out; set one of them true")


Split = Annotated[ByTime | ByUser | ByRatio | ByOrder | ByLeaveOneOut, Field(discriminator="by")]


@settings
class DatasetConfig(Table):
    """Rows of a click-through task."""

    name: Name
    """Names the folder of prepared files."""
    files: Places = ()
    """Paths or globs of all rows, with ``split`` telling how to part them."""
    splits: Splits | None = None
    """Instead of ``files`` and ``split``: the files of each split."""
    split: Split | None = None
    """How ``files`` are parted into train, valid and test."""
    joins: tuple[Join, ...] = ()
    """Tables of attributes, joined in this order; a later one may use columns of an earlier one as its key."""
    labels: tuple[Label, ...] = ()
    """What is predicted; the first is the one that sampling looks at. None where the next item is predicted."""
    roles: Roles = dataclasses.field(default_factory=Roles)
    """User, time, weight and the like."""
    same_second: Literal["unseen", "file_order"] = "unseen"
    """Which rows of a user's own second a history built from the log holds: none, or those before it in the file."""
    train_rows: Literal["all", "last"] = "all"
    """Which rows of train are written: all, or each user's last, whose history has the others; all are learnt from."""
    negative_sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of train's rows with first label 0 that are kept; recorded, so that predictions can be corrected."""
    features: Features
    """What the model sees."""

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ValueError("; ".join(faults))

    def _faults(self) -> Iterable[str]:
        if bool(self.files) == (self.splits is not None):
            yield "give either files (with split) or splits"
        elif bool(self.files) != (self.split is not None):
            yield "split tells how files are parted; give it with files, and not with splits"
        counts = Counter(label.name for label in self.labels)
        yield from (f"label {name} is given {count} times" for name, count in counts.items() if count > 1)
        if self.negative_sampling_rate < 1 and not self.labels:
            yield "negative_sampling_rate needs a label that tells the negatives"
        if isinstance(self.split, ByTime) and not self.roles.timestamp:
            yield "split by time needs roles.timestamp"
        yield from self._without_user()
        if self.train_rows == "last" and self.negative_sampling_rate < 1:
            yield "train_rows: last keeps one row of each user, so negative_sampling_rate must be left out"
        if isinstance(self.split, ByRatio) and self.roles.timestamp and not self.split.allow_random:
            yield (
                f"a random split of rows with a timestamp ({self.roles.timestamp}) lets train see the future of test; "
                "use split.by time or user, or set split.allow_random: true"
            )

    def _without_user(self) -> Iterable[str]:
        """What goes by user, where no column names the user."""
        if self.roles.group:
            return
        if isinstance(self.split, ByUser | ByLeaveOneOut):
            yield f"split by {'user' if isinstance(self.split, ByUser) else 'leave_one_out'} needs roles.group"
        if self.train_rows == "last":
            yield "train_rows: last needs roles.group, each of whose last rows it keeps"
        for feature in self.features:
            if is_logged(feature):
                yield f"{feature.name} is built from the log, which needs roles.group: a history is one user's"
