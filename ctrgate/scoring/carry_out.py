"""A scoring job carried out: what is left of it is scored and checked, and then takes its place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrgate.cluster.settings import ClusterConfig
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.files import locked, put_back, writing
from ctrgate.metrics.histogram import Counts
from ctrgate.progress import bar, console
from ctrgate.scoring.agenda import Agenda
from ctrgate.scoring.folder import WorkFolder, WorkLog, changed_parts, recorded
from ctrgate.scoring.job import Job
from ctrgate.scoring.skew import check_skew, counts_of
from ctrgate.scoring.workers import work

__all__ = ["carry_out", "tell"]


def carry_out(job: Job, *, cluster: ClusterConfig) -> dict[str, Any]:
    """Do what is left of a job.

    Args:
        job: The job.
        cluster: Where the processes of ``score.ray`` run.

    Returns:
        The folder, rows, files, and rows per second.

    Raises:
        ConfigError: Where the folder holds something else.
        DataError: Naming the file, and the row, that cannot be used.
        HeldBackError: All is in place, but files were left out; or nothing is, as scores are not distributed as
            earlier ones were.
    """
    into = job.into
    earlier = counts_of(Path(job.settings.like)) if job.settings.like else None
    kept = "what is scored is kept, and the same command goes on from there"
    started = time.monotonic()
    with (
        writing(into, setting="score.into", kept=kept),
        locked(into.with_name(f".{into.name}.lock"), what=f"the scores {into}"),
    ):
        put_back(into)
        success = _finished(job)
        if success is not None:
            console.print(f"{into} holds these scores already; nothing is done")
            return _result(into, success, seconds=None)
        folder = WorkFolder(into, job=job.key)
        folder.begin(job.origin)
        success = folder.whole or _scored(job, folder, cluster=cluster, earlier=earlier)
        folder.publish()
    return _result(into, success, seconds=time.monotonic() - started)


def tell(job: Job) -> dict[str, Any]:
    """Say what a job would read and write.

    Raises:
        ConfigError: Where the folder holds something else.
    """
    _finished(job)
    for each in job.inputs:
        what = f"leave out ({each.bad})" if each.bad else f"score in {len(each.units)} parts"
        console.print(f"{each.path} ({each.num_bytes:,} bytes): would {what}")
    console.print(f"would write {job.into}, with the model {job.artifact.manifest.model} of {job.model.folder}")
    return {"dry_run": True, "into": str(job.into), "files": len(job.inputs)}


def _scored(job: Job, folder: WorkFolder, *, cluster: ClusterConfig, earlier: Counts | None) -> Mapping[str, Any]:
    """Fill the folder, and what is said of it."""
    with folder.log() as log:
        _work(job, folder.path, log=log, cluster=cluster)
        success = job.success(log)
        check_skew(job.artifact, success["histogram"], earlier=earlier, settings=job.settings)
        folder.finish(success)
    whole = folder.whole
    assert whole is not None
    return whole


def _work(job: Job, folder: Path, *, log: WorkLog, cluster: ClusterConfig) -> None:
    agenda = Agenda(job.inputs, log=log, skip=job.settings.on_bad_file == "skip")
    if log.parts:
        console.print(f"going on: {len(log.parts):,} parts are scored, {agenda.rows:,} rows are left")
    with bar("scoring", total=agenda.rows) as progress:
        work(
            job.order(folder),
            agenda=agenda,
            artifact=job.artifact,
            processes=job.settings.processes,
            cluster=cluster if job.settings.ray else None,
            advance=progress.advance,
        )


def _finished(job: Job) -> Mapping[str, Any] | None:
    """What ``_SUCCESS`` says where the very scores lie there already.

    Raises:
        ConfigError: Where something else does, and is not to be replaced.
    """
    into, replace = job.into, job.settings.replace
    finished, begun = recorded(into)
    if finished is not None:
        difference = finished.differs(job.key)
        if difference is None and finished.success is not None:
            changed = changed_parts(finished.folder, finished.success)
            if not changed:
                return finished.success
            if not replace:
                raise ConfigError(f"{into / changed[0]} is not as it was written; score.replace=true scores again")
        elif not replace:
            raise _other(into, f"holds scores of {difference}")
    for each in begun:
        if (difference := each.differs(job.key)) is not None and not replace:
            raise _other(into, f"was begun with {difference} and is not finished")
    return None


def _other(into: Path, found: str) -> ConfigError:
    return ConfigError(f"{into} {found}; set score.into to another place, or score.replace=true")


def _result(into: Path, success: Mapping[str, Any], *, seconds: float | None) -> dict[str, Any]:
    rows, skipped = success["rows"], success["skipped"]
    read = sum(file["rows"] for file in success["files"])  # a model that ranks writes several for each
    rate = None if seconds is None else read / max(seconds, 1e-9)
    if rate is not None:
        console.print(f"{into}: {rows:,} rows of {len(success['files'])} files, {rate:,.0f} rows/s")
    if skipped:
        told = "\n".join(f"  {each['why']}" for each in skipped)
        raise HeldBackError(
            f"{into} is finished, but {len(skipped)} files could not be scored and are left out:\n{told}"
        )
    return {
        "into": str(into),
        "rows": rows,
        "files": len(success["files"]),
        "rows_per_second": rate,
        "model": success["model"]["identity"],
        "model_version": success["model"]["registered"] and success["model"]["registered"]["version"],
        "done_before": seconds is None,
    }
