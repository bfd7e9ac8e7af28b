"""Which of a dataset's rows are events, where histories are built from the rows themselves."""

from __future__ import annotations

from ctrgate.config import settings

__all__ = ["Log"]


@settings
class Log:
    """Which of the dataset's rows are the events of a history: all, or those that a rule picks."""

    column: str = ""
    """The column that the rule looks at; a row without a value there is no event."""
    at_least: float | None = None
    """A row is an event where the column is this or more."""
    equals: int | float | str | None = None
    """A row is an event where the column is exactly this."""

    def __post_init__(self) -> None:
        if self.at_least is not None and self.equals is not None:
            raise ValueError("at_least and equals are two rules; give one")
        if bool(self.column) != (self.at_least is not None or self.equals is not None):
            raise ValueError("a rule is a column and at_least or equals; give both, or neither where every row counts")
