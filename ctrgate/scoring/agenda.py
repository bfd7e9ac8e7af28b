"""What is left to do of a job, in order; finished parts and bad files are noted as they come."""

from __future__ import annotations

from collections.abc import Sequence

from ctrgate.errors import DataError
from ctrgate.scoring.folder import WorkLog
from ctrgate.scoring.inputs import Input
from ctrgate.scoring.scorer import ScoredPart
from ctrgate.scoring.units import Unit, tasks

__all__ = ["Agenda"]


class Agenda:
    """The tasks that are left.

    Tasks are given out in order, so that whatever is found wrong with a file, all that lies before it is seen as well:
    the fault that is told is the file's first, with any number of processes.

    Args:
        inputs: The files.
        log: What is done.
        skip: Whether a bad file is left out.

    Raises:
        DataError: Where the log knows a bad file that is not to be left out.
    """

    def __init__(self, inputs: Sequence[Input], *, log: WorkLog, skip: bool) -> None:
        if log.bad and not skip:
            raise DataError(log.bad[min(log.bad)][1])
        self._log, self._skip = log, skip
        units = [unit for each in inputs for unit in each.units]
        left = [unit for unit in units if (unit.file, unit.number) not in log.parts and not self._is_bad(unit)]
        self._tasks = tasks(left, streamed=[each.format != "parquet" for each in inputs])
        self.rows = sum(unit.rows for unit in left)

    @property
    def size(self) -> int:
        """How many tasks are left."""
        return len(self._tasks)

    def next(self) -> list[Unit] | None:
        """The next task; None where none is left."""
        while self._tasks:
            task = [unit for unit in self._tasks.pop(0) if not self._is_bad(unit)]
            if task:
                return task
        return None

    def done(self, part: ScoredPart) -> None:
        """Note a part that lies in its place."""
        self._log.commit(part)

    def bad(self, unit: Unit, *, why: str) -> None:
        """Note that a unit cannot be scored.

        Raises:
            DataError: Where bad files are not to be left out.
        """
        if not self._skip:
            raise DataError(why)
        self._log.spoil(unit.file, unit=unit.number, why=why)

    def _is_bad(self, unit: Unit) -> bool:
        known = self._log.bad.get(unit.file)
        return known is not None and unit.number >= known[0]
