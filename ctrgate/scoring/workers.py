"""Units of work done here, or by several processes side by side; what they give is the same."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pydantic import TypeAdapter

import ctrgate.errors
from ctrgate.artifact.bundle import Artifact
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.config import dump
from ctrgate.errors import ClusterError, CtrgateError, DataError
from ctrgate.scoring.agenda import Agenda
from ctrgate.scoring.scorer import JobOrder, ScoredPart, Scorer
from ctrgate.scoring.units import Unit

__all__ = ["RemoteScorer", "work"]


def work(
    order: JobOrder,
    *,
    agenda: Agenda,
    artifact: Artifact,
    processes: int,
    cluster: ClusterConfig | None = None,
    advance: Callable[[int], None],
) -> None:
    """Do all tasks of an agenda.

    Args:
        order: The job.
        agenda: Its tasks.
        artifact: The job's model, for work in this process.
        processes: At most so many work at once; one is this one, unless they are Ray's.
        cluster: Where Ray's processes run; None for processes of this machine without Ray.
        advance: Told of rows that are scored.

    Raises:
        DataError: Of a file that cannot be scored and is not to be left out.
        ClusterError: Where a process was killed.
    """
    if cluster is not None and agenda.size:
        _on_cluster(order, agenda, processes=min(processes, agenda.size), cluster=cluster, advance=advance)
        return
    if min(processes, agenda.size) > 1:
        _side_by_side(order, agenda, processes=min(processes, agenda.size), advance=advance)
        return
    scorer = Scorer(order, artifact=artifact)
    while task := agenda.next():
        done = 0
        try:
            for part in scorer.parts(task, advance=advance):
                agenda.done(part)
                done += 1
        except DataError as error:
            agenda.bad(task[done], why=str(error))


def _on_cluster(
    order: JobOrder, agenda: Agenda, *, processes: int, cluster: ClusterConfig, advance: Callable[[int], None]
) -> None:
    """Let processes of Ray do the tasks; they must see files, model and the job's folder under the same paths."""
    from ctrgate.cluster.pool import pool  # brings Ray

    with pool(RemoteScorer, json.dumps(dump(order)), num_workers=processes, cluster=cluster) as workers:
        given: dict[int, list[Unit]] = {}
        while True:
            for place in workers.idle:
                if task := agenda.next():
                    given[place] = task
                    workers.submit(place, [_plain(unit) for unit in task])
            taken = workers.take()
            if taken is None:
                return
            place, (parts, bad) = taken
            for part in parts:
                agenda.done(TypeAdapter(ScoredPart).validate_python(part))
                advance(part["rows"])
            if bad is not None:
                agenda.bad(given[place][len(parts)], why=bad)


class RemoteScorer:
    """A scorer in a process of Ray.

    Args:
        order: The job, as JSON.
    """

    def __init__(self, order: str) -> None:
        self._scorer = Scorer(TypeAdapter(JobOrder).validate_json(order))

    def work(self, task: list[list[int]]) -> tuple[list[dict[str, Any]], str | None]:
        """The parts that were scored, and what is wrong with the unit after them, if anything."""
        parts: list[dict[str, Any]] = []
        units = [Unit(file=file, number=number, start=start, stop=stop) for file, number, start, stop in task]
        try:
            for part in self._scorer.parts(units, advance=lambda _: None):
                parts.append(dump(part))
        except DataError as error:
            return parts, str(error)
        return parts, None


@dataclass(kw_only=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    task: list[Unit] = field(default_factory=list)


def _side_by_side(order: JobOrder, agenda: Agenda, *, processes: int, advance: Callable[[int], None]) -> None:
    workers: list[_Worker] = []
    try:
        with _shared_cores(processes):
            workers += [_started(order) for _ in range(processes)]
        while True:
            for worker in workers:
                if not worker.task and (task := agenda.next()):
                    worker.task = task
                    _send(worker, {"task": [_plain(unit) for unit in task]})
            busy = {worker.connection: worker for worker in workers if worker.task}
            if not busy:
                return
            for connection in wait(list(busy)):
                _take(busy[connection], agenda, advance=advance)  # type: ignore[index]
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.connection.close()


def _plain(unit: Unit) -> list[int]:
    """A unit as plain numbers."""
    return [unit.file, unit.number, unit.start, unit.stop]


def _started(order: JobOrder) -> _Worker:
    context = multiprocessing.get_context("spawn")  # Polars' threads do not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, json.dumps(dump(order))), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, connection=ours)


def _send(worker: _Worker, message: dict[str, Any]) -> None:
    try:
        worker.connection.send_bytes(json.dumps(message).encode())
    except OSError:
        _lost(worker)


def _take(worker: _Worker, agenda: Agenda, *, advance: Callable[[int], None]) -> None:
    """Take one message of a worker."""
    try:
        message = json.loads(worker.connection.recv_bytes())
    except (EOFError, OSError):
        _lost(worker)
    if "rows" in message:
        advance(message["rows"])
    elif "part" in message:
        agenda.done(TypeAdapter(ScoredPart).validate_python(message["part"]))
        worker.task.pop(0)
    elif "bad" in message:
        failed, worker.task = worker.task[0], []
        agenda.bad(failed, why=message["bad"])
    else:
        kind = getattr(ctrgate.errors, message["error"], None)
        if isinstance(kind, type) and issubclass(kind, CtrgateError):
            raise kind(message["says"])
        if message["number"]:
            raise OSError(message["number"], message["says"])
        raise RuntimeError(f"a scoring process failed:\n{message['trace']}")


def _lost(worker: _Worker) -> None:
    worker.process.join(timeout=5)
    raise ClusterError(
        f"a scoring process ended by itself (exit code {worker.process.exitcode}; -9 may be for want of memory, which "
        "fewer score.processes or smaller score.batch_rows need less of). What is scored is kept: the same command "
        "goes on from there"
    )


@contextmanager
def _shared_cores(processes: int) -> Iterator[None]:
    """Let processes that are started within share the cores: each reads how many threads Polars has when it begins."""
    name, before = "POLARS_MAX_THREADS", os.environ.get("POLARS_MAX_THREADS")
    if before is None:
        os.environ[name] = str(max(1, len(os.sched_getaffinity(0)) // processes))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _serve(connection: Connection, text: str) -> None:
    """A process: it does what it is told until nobody tells it anything any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(**message: Any) -> None:
        connection.send_bytes(json.dumps(message).encode())

    try:
        scorer = Scorer(TypeAdapter(JobOrder).validate_json(text))
        while True:
            task = [
                Unit(file=file, number=number, start=start, stop=stop)
                for file, number, start, stop in json.loads(connection.recv_bytes())["task"]
            ]
            try:
                for part in scorer.parts(task, advance=lambda rows: say(rows=rows)):
                    say(part=dump(part))
            except DataError as error:
                say(bad=str(error))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - told to the first process, which raises it
        number = error.errno if isinstance(error, OSError) else None
        says = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        say(error=type(error).__name__, says=says, number=number, trace=traceback.format_exc())


def _end_with_parent() -> None:
    """End at once with the process that has started this one, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
