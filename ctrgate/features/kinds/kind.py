"""What every kind of feature tells of itself, and what kinds share that read one column or one table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Protocol

import polars as pl
from pydantic import AfterValidator

from ctrgate.features.columns import Key, Number
from ctrgate.features.encodings import Encoding, IdentityEncoding, Value
from ctrgate.features.layout import Field, SequenceGroup
from ctrgate.features.raw_column import RawColumn
from ctrgate.features.statistics import Transform

__all__ = ["Kind", "Name", "OneColumn", "OneTable", "Scaled"]


def _plain(name: str) -> str:
    if not name or ":" in name or "/" in name:
        raise ValueError(f"{name!r} cannot name a feature: a name is not empty and holds neither ':' nor '/'")
    return name


Name = Annotated[str, AfterValidator(_plain)]
"""Of a feature or of a member."""


class Scaled(Protocol):
    """The settings of numbers that are scaled."""

    @property
    def transform(self) -> Transform:
        """How they are scaled."""

    @property
    def fill(self) -> float | None:
        """The raw number that stands for a missing one; the train mean where there is none."""


class Kind(ABC):
    """A feature: which raw columns it reads, which tables, and what it becomes.

    A kind answers what concerns it; what reads raw rows, encodes them or makes some up goes by the answers.
    """

    name: str

    @abstractmethod
    def raw_columns(self, *, scoring: bool = False, log: bool = False) -> tuple[RawColumn, ...]:
        """The raw columns that it reads; several that hold lists belong together and must be equally long.

        Args:
            scoring: Whether rows are scored: what a constant stands for then is not read.
            log: For histories that are built from the log: its columns, instead of those of the lists.
        """

    def columns_read(self, *, scoring: bool = False, log: bool = False) -> tuple[str, ...]:
        """The names of ``raw_columns``, each once."""
        return tuple(dict.fromkeys(raw.column for raw in self.raw_columns(scoring=scoring, log=log)))

    @property
    def quantiles(self) -> int:
        """Parts of equal weight into which the numbers of its first column are cut; 0 where nothing is cut."""
        return 0

    def fields(self) -> tuple[Field, ...]:
        """What a network sees of it as fields, in the order of its encoded columns."""
        return ()

    def groups(self) -> tuple[SequenceGroup, ...]:
        """What a network sees of it as sequences."""
        return ()

    def tables(self) -> tuple[tuple[str, Encoding], ...]:
        """The tables that it reads, each with the rule by which values are given their rows."""
        return ()

    def keys(self, schema: pl.Schema, *, boundaries: Sequence[float] = (), scoring: bool = False) -> Iterator[Key]:
        """Its categories on their way to ids.

        Args:
            schema: The raw columns and their types, already checked.
            boundaries: Of its ``quantiles``, as they were learnt.
            scoring: Whether constants stand for what is not known when scoring.
        """
        yield from ()

    def numbers(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[Number]:
        """Its numbers on their way to scaled ones; ``scaled`` has the settings of each."""
        yield from ()

    def scaled(self) -> Mapping[str, Scaled]:
        """By encoded column, how its numbers are scaled."""
        return {}

    def unlearnt(self, schema: pl.Schema, *, scoring: bool = False) -> Iterator[pl.Expr]:
        """Encoded columns for which nothing is learnt, by their names."""
        yield from ()

    def example(self, at: float, *, boundaries: Sequence[float]) -> float:
        """A raw number that is not scaled, for made-up rows.

        Args:
            at: From 0 to 1, where in the range of its numbers.
            boundaries: Of its ``quantiles``, as they were learnt.
        """
        return at


class OneColumn:
    """What reads one raw column."""

    name: str
    column: str

    @property
    def source(self) -> str:
        """The raw column: ``column``, or the one of its own name."""
        return self.column or self.name


class OneTable:
    """What reads one table."""

    name: str
    share: str
    encoding: Encoding

    @property
    def table(self) -> str:
        """The table: the one that it shares, or the one of its own name."""
        return self.share or self.name

    def tables(self) -> tuple[tuple[str, Encoding], ...]:
        """The one table, with the rule by which values are given their rows."""
        return ((self.table, self.encoding),)

    def categories(
        self, column: str, *, is_list: bool = False, separator: str = "", drop: tuple[Value, ...] = ()
    ) -> RawColumn:
        """A raw column that holds values of the table; the rest as in ``RawColumn``."""
        return RawColumn(
            column=column,
            reader=self.name,
            holds="category",
            is_list=is_list,
            separator=separator,
            table=self.table,
            identity=isinstance(self.encoding, IdentityEncoding),
            drop=drop,
        )
