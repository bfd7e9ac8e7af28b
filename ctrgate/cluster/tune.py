"""The trials of a search, by Ray Tune: it starts them, ASHA ends those that lag, and the journal has every decision."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrgate.cluster.ray import ray, started
from ctrgate.cluster.settings import ClusterConfig
from ctrgate.cluster.trial import TrialProcess
from ctrgate.errors import ClusterError, Interrupted
from ctrgate.training.stop import StopRequest, stop_requests
from ctrgate.tuning.journal import Decision, End, Journal
from ctrgate.tuning.search import Planned, Search
from ctrgate.tuning.settings import AshaSettings

os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # signals are ours
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the journal is the record
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints its tables even when it is to be quiet

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.stopper import NoopStopper

__all__ = ["Asha", "run_trials"]


class Asha:
    """Ray Tune's ASHA, fed by the journal first, so that a search that goes on decides as if it had never ended.

    Args:
        settings: The rungs; None ends no trial.
        max_epochs: The most that a trial trains; after those it ends by itself.
        journal: What was reported so far.
        larger_is_better: Of the journal's values.
    """

    def __init__(
        self, settings: AshaSettings | None, *, max_epochs: int, journal: Journal, larger_is_better: bool
    ) -> None:
        self._max_epochs, self._journal, self._larger = max_epochs, journal, larger_is_better
        self._known: set[int] = set()
        self._ray = None
        if settings is not None:
            self._ray = ASHAScheduler(
                time_attr="epoch",
                metric="value",
                mode="max",
                max_t=max_epochs + 1,  # at its last epoch a trial is left to end by itself
                grace_period=min(settings.grace_epochs, max_epochs),
                reduction_factor=settings.factor,
            )
        for trial, epoch, _ in journal.reports:
            self._judge(trial, epoch)

    def take(self, trial: int, *, epoch: int, value: float, seconds: float) -> Decision:
        """Judge a trial by its best value so far, and note both; an epoch that is known already changes nothing."""
        record = self._journal.of(trial)
        if epoch <= len(record.values):
            return "continue"
        sign = 1 if self._larger else -1
        values = [*record.values, sign * value]
        decision = self._judge(trial, epoch, value=max(sign * each for each in values))
        self._journal.report(trial, epoch=epoch, value=sign * value, seconds=seconds, decision=decision)
        return decision

    def _judge(self, trial: int, epoch: int, value: float | None = None) -> Decision:
        if self._ray is None or epoch >= self._max_epochs:
            return "continue"
        if value is None:
            best = self._journal.of(trial).best(larger_is_better=self._larger, before=epoch)
            value = 0.0 if best is None else best[1] if self._larger else -best[1]
        stub = _Named(trial_id=str(trial))
        if trial not in self._known:
            self._known.add(trial)
            self._ray.on_trial_add(None, stub)
        decided = self._ray.on_trial_result(None, stub, {"epoch": epoch, "value": value})
        return "stop" if decided == TrialScheduler.STOP else "continue"


@dataclass(frozen=True, kw_only=True)
class _Named:
    """What Ray's ASHA asks of a trial."""

    trial_id: str


def run_trials(
    planned: Sequence[Planned],
    *,
    search: Search,
    journal: Journal,
    cluster: ClusterConfig,
    on_end: Callable[[int], None],
) -> None:
    """Run trials, the first first; what comes of them is in the journal and their folders.

    Args:
        planned: Those that are not decided yet.
        search: What they belong to; its metric is in each line of a trial's metrics.
        journal: Of the search.
        cluster: Where.
        on_end: Called with the number of a trial that is decided or broke.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM, with the state of every trial saved.
        ClusterError: Where Ray cannot be started, or its workers were lost more often than ``cluster.max_failures``.
    """
    folder, parallel = search.folder.resolve(), search.settings.parallel
    stop_file, scratch = folder / ".stop", folder / ".ray"
    stop_file.unlink(missing_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    of_all = {
        "cwd": str(Path.cwd()),
        "stop_file": str(stop_file),
        "metric": search.metric,
        "sign": search.sign,
    }
    given = {one.number: {**of_all, **_given(one, journal=journal, cluster=cluster)} for one in planned}
    judge = Asha(
        search.settings.asha,
        max_epochs=search.max_epochs,
        journal=journal,
        larger_is_better=search.larger_is_better,
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        with started(cluster, num_cpus=parallel * cluster.cpus_per_worker), stop_requests() as stop:
            tuner = _tuner(
                given,
                scheduler=_Scheduler(judge, journal=journal, on_end=on_end),
                stop=_Stop(stop, stop_file),
                parallel=parallel,
                cluster=cluster,
                scratch=scratch,
            )
            try:
                tuner.fit()
            except (tune.TuneError, ray.exceptions.RayError) as error:
                raise ClusterError(
                    f"Ray was lost during the search ({error}); the same command goes on from what is saved"
                ) from error
    finally:
        stop_file.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
    _see_all_ended(planned, journal=journal, stop=stop, cluster=cluster)


def _see_all_ended(planned: Sequence[Planned], *, journal: Journal, stop: StopRequest, cluster: ClusterConfig) -> None:
    """Raise where a signal, or workers that were lost, left trials open."""
    if stop.asked:
        raise Interrupted(
            f"stopped by {stop.name}; trials are saved, the same command goes on from there",
            signal_number=stop.number,
        )
    lost = [one.number for one in planned if journal.of(one.number).state == "open"]
    if lost:
        raise ClusterError(
            f"the workers of trials {', '.join(map(str, lost))} were lost {cluster.max_failures + 1} times "
            "(cluster.max_failures); the same command goes on from their checkpoints"
        )


def _given(one: Planned, *, journal: Journal, cluster: ClusterConfig) -> dict[str, Any]:
    """What a trial's process is told of its own."""
    return {
        "folder": str(one.folder.resolve()),
        "command": list(one.command),
        "environment": {**cluster.environment, **one.environment},
        "epochs_before": one.epochs_before,
        "reported": len(journal.of(one.number).values),
    }


def _tuner(
    given: Mapping[int, Mapping[str, Any]],
    *,
    scheduler: _Scheduler,
    stop: _Stop,
    parallel: int,
    cluster: ClusterConfig,
    scratch: Path,
) -> tune.Tuner:
    """Ray Tune over the trials' numbers; what it writes of its own is never read again."""
    return tune.Tuner(
        tune.with_resources(TrialProcess, {"CPU": cluster.cpus_per_worker}),
        param_space={"trial": tune.grid_search(list(given)), "given": dict(given)},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=parallel,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            verbose=0,
            stop=stop,
            failure_config=tune.FailureConfig(max_failures=cluster.max_failures),
        ),
    )


class _Scheduler(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """Ray Tune's view of ``Asha`` and the journal; runs in the driver."""

    def __init__(self, judge: Asha, *, journal: Journal, on_end: Callable[[int], None]) -> None:
        super().__init__()
        self._judge, self._journal, self._on_end = judge, journal, on_end

    def __reduce__(self) -> tuple[Any, ...]:
        """What Ray's own notes hold of it, which are never read: the journal knows all."""
        return FIFOScheduler, ()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Go on or stop."""
        if "epoch" not in result:
            return str(TrialScheduler.CONTINUE)
        number = int(trial.config["trial"])
        decision = self._judge.take(number, epoch=result["epoch"], value=result["value"], seconds=result["seconds"])
        if decision == "stop":
            self._on_end(number)
        return str(TrialScheduler.STOP if decision == "stop" else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Note how a trial ended by itself."""
        how: End | None = result.get("ended")
        if how in ("finished", "failed", "broken"):
            number = int(trial.config["trial"])
            self._journal.end(number, how, seconds=result["seconds"], reason=result["reason"])
            self._on_end(number)


class _Stop(tune.Stopper):  # type: ignore[misc]  # ray has no types
    """Ends the search after a signal; the file tells the trials."""

    def __init__(self, stop: StopRequest, file: Path) -> None:
        self._stop, self._file = stop, file

    def __reduce__(self) -> tuple[Any, ...]:
        """The same."""
        return NoopStopper, ()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Never for one trial alone."""
        return False

    def stop_all(self) -> bool:
        """Whether a signal came."""
        if self._stop.asked:
            self._file.touch()
        return self._stop.asked
