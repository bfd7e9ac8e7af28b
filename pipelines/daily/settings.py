"""The ``daily`` section of a run file."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from ctrgate.config import Place, settings

__all__ = ["DailySettings"]

Count = Annotated[int, Field(ge=1)]


@settings
class DailySettings:
    """Which files belong to which day, what a day learns from, and what is kept."""

    files: str
    """Paths or globs of a period's raw rows with ``{date}`` for its first day: ``events/{date}/*.parquet``."""
    date_format: str = "%Y-%m-%d"
    """How ``{date}`` is written, in the letters of strftime."""
    period: Literal["day", "week", "month"] = "day"
    """What is trained and decided at a time; weeks begin on Monday. A date stands for the period that it lies in."""
    first: date
    """The first period that there are files of."""
    label_delay: Annotated[int, Field(ge=0)] = 0
    """Periods until labels are complete: a run for a date decides on that many periods before it."""
    warm_start: bool = True
    """Whether a challenger goes on from the champion, with the files that the champion has not learnt from; if not, it
    starts from the seed, with all files of ``window``."""
    window: Count | None = None
    """Periods before the one decided on that a challenger may learn from; null for all since ``first``."""
    valid_periods: Annotated[int, Field(ge=0)] = 0
    """The last of those become valid, by which epochs are chosen, and are not learnt from; 0 trains all epochs."""
    refit: bool = False
    """Whether a promoted challenger learns the rows that it was decided on too before it serves: nothing is left to
    compare such a refit on, so decisions are about the models without it."""
    compact_every: Count | None = None
    """Periods, counted from ``first``, after which the encoder of a warm start gives up the rows of retired values
    (``encoding.retire_after``): ids move, and what was learnt moves along."""
    folder: Place = "daily"
    """Where records and pages of the days lie, below the run's name."""
    notify: tuple[str, ...] = ()
    """A command with its arguments, run at the end of each day with ``CTRGATE_DATE``, ``CTRGATE_STATUS``,
    ``CTRGATE_WHY`` and ``CTRGATE_PAGE`` in its environment."""
    keep: Count | None = 14
    """Periods whose runs, prepared rows and scores stay; never those that the champion or its forerunner needs."""

    def __post_init__(self) -> None:
        if "{date}" not in self.files:
            raise ValueError("files needs {date}, where the period's first day stands in the path")
