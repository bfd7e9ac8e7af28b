"""Progress on stderr: a bar with rate and ETA on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Bar", "bar", "console", "warned_of"]

console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
_LINE_EVERY_SECONDS = 10.0


def warned_of(message: str) -> None:
    """Tell the user of what went wrong and stops nothing."""
    console.print(message, style="yellow", markup=False)


class Bar:
    """One running task; ``advance`` counts rows (or any unit) done."""

    def __init__(self, progress: Progress | None, title: str, total: int | None, unit: str) -> None:
        self._progress, self._title, self._total, self._unit = progress, title, total, unit
        self._start = self._last_line = time.monotonic()
        self._done = 0
        self._note = ""
        self._task = progress.add_task(title, total=total, rate="", note="") if progress else None

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return self._done / max(time.monotonic() - self._start, 1e-9)

    def advance(self, count: int, note: str | None = None) -> None:
        """Count ``count`` more units; ``note`` (a loss, say) is shown behind the rate until the next one."""
        self._done += count
        self._note = self._note if note is None else note
        rate = f"{self.rate:,.0f} {self._unit}/s"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=count, rate=rate, note=self._note)
        elif time.monotonic() - self._last_line > _LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            share = f"{self._done / self._total:4.0%} " if self._total else ""
            eta = f", {(self._total - self._done) / max(self.rate, 1e-9):.0f} s left" if self._total else ""
            console.print(f"{self._title}: {share}{self._done:,} {self._unit}, {rate}{eta} {self._note}".rstrip())


@contextmanager
def bar(title: str, *, total: int | None = None, unit: str = "rows") -> Iterator[Bar]:
    """Show the progress of a block of work.

    Args:
        title: What is being done.
        total: Number of units, where known.
        unit: What is counted.
    """
    if not console.is_terminal:
        yield Bar(None, title, total, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}% {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, title, total, unit)
