"""A raw column as a feature reads it: what its rows must hold, and where that goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from ctrgate.features.column_types import held_type, is_list, is_text

__all__ = ["RawColumn"]


@dataclass(frozen=True, kw_only=True)
class RawColumn:
    """What a feature needs of one column. All that reads raw rows goes by this, whatever the kind of the feature.

    Args:
        column: Its name.
        reader: Who reads it, for messages: the feature, ``GROUP/MEMBER`` in a sequence, or the rule of a log.
        holds: A category (an integer or text), a number, or a flag: a number that is 0 or is not.
        is_list: Whether a row holds any number of them.
        separator: What parts text that stands for a list; empty where only lists will do.
        width: How many entries each list must have; 0 for any number.
        table: Whose values the categories are; empty for parts of a combination, and for what is no category.
        identity: Whether the categories are rows already, and so integers.
        drop: Categories that are left out.
        scaling: The encoded column by whose statistics a number is scaled; empty where it is not.
        is_rule: Whether it only decides which rows are events of a log.
    """

    column: str
    reader: str
    holds: Literal["category", "number", "flag"]
    is_list: bool = False
    separator: str = ""
    width: int = 0
    table: str = ""
    identity: bool = False
    drop: tuple[int | str, ...] = ()
    scaling: str = ""
    is_rule: bool = False

    @property
    def words(self) -> str:
        """What it needs, for messages."""
        one = "integer or string" if self.holds == "category" else "number"
        if not self.is_list:
            return f"a{'n' if one[0] == 'i' else ''} {one} in each row"
        or_text = " (or text to split)" if self.separator else ""
        return f"a list in each row, of {one.replace(' or ', 's or ')}s{or_text}"

    def fits(self, kind: pl.DataType) -> bool:
        """Whether a column of that type has it; one without any value always does."""
        if kind == pl.Null or (self.separator and kind == pl.String):
            return True
        if self.is_list != is_list(kind):
            return False
        inner = held_type(kind)
        if inner in (pl.Null, pl.Boolean) or inner.is_integer():
            return True
        return is_text(inner) if self.holds == "category" else inner.is_numeric()

    def lost_drops(self, kind: pl.DataType) -> list[str]:
        """The texts to drop that a column of that type cannot hold."""
        return [value for value in self.drop if isinstance(value, str)] if held_type(kind).is_integer() else []
