"""Days, weeks and months, and the raw files of each."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

from ctrgate.config import expand
from ctrgate.files import checksum, write_json
from pipelines.daily.settings import DailySettings

__all__ = ["Files", "later", "periods", "start_of"]


def start_of(day: date, *, period: str) -> date:
    """The first day of the period that a day lies in.

    Example:
        >>> start_of(date(2025, 1, 9), period="week")
        datetime.date(2025, 1, 6)
    """
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def later(day: date, number: int, *, period: str) -> date:
    """The first day of the period that comes some periods later; earlier ones have a negative number."""
    start = start_of(day, period=period)
    if period == "month":
        months = start.year * 12 + start.month - 1 + number
        return date(months // 12, months % 12 + 1, 1)
    return start + timedelta(days=number * (7 if period == "week" else 1))


def periods(first: date, last: date, *, period: str) -> Iterator[date]:
    """The first days of all periods from one to another, both included."""
    day = start_of(first, period=period)
    while day <= last:
        yield day
        day = later(day, 1, period=period)


class Files:
    """The raw files of periods with their checksums; what was read before is not read again while it is unchanged.

    Args:
        daily: Where they lie.
        memory: A file that keeps checksums by path, size and time of change.
    """

    def __init__(self, daily: DailySettings, *, memory: Path) -> None:
        self._daily, self._memory = daily, memory
        self._known: dict[str, list[int | str]] = json.loads(memory.read_text()) if memory.exists() else {}

    def of(self, day: date) -> Mapping[str, str]:
        """The SHA-256 of each file of a period, by path in order; empty where there is none."""
        pattern = expand(self._daily.files.replace("{date}", day.strftime(self._daily.date_format)))
        found = {}
        for path in sorted(glob.glob(pattern, recursive=True)):
            stat = Path(path).stat()
            known = self._known.get(path)
            if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
                self._known[path] = known = [stat.st_size, stat.st_mtime_ns, checksum(path)]
                write_json(self._memory, self._known)
            found[path] = str(known[2])
        return found
