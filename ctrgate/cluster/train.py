"""Training on several workers: Ray Train starts them, sees them die, and starts them again from the last checkpoint."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ctrgate.cluster.ray import causes, go_to, ray, started
from ctrgate.cluster.settings import STOP_FILE, ClusterConfig
from ctrgate.errors import ClusterError, CtrgateError, Interrupted
from ctrgate.progress import console
from ctrgate.training.stop import same_command, stop_requests
from ctrgate.training.workers import Workers

__all__ = ["train_on_workers"]

Work = Callable[[Mapping[str, Any], Workers], None]


def train_on_workers(
    work: Work,
    settings: Mapping[str, Any],
    *,
    num_workers: int,
    cluster: ClusterConfig,
    folder: Path,
    restarted: bool = False,
) -> None:
    """Run a function in every worker; a worker that is lost costs the steps since the last checkpoint.

    Args:
        work: A module's function, given the settings and which worker it is; torch's process group is there.
        settings: Plain values.
        num_workers: How many.
        cluster: Where.
        folder: The run's, which all workers share; ``workers.log`` there holds what the first one says, ``ray`` what
            Ray notes.
        restarted: Whether the command threw an earlier run away, which the next one should not.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM, with the state saved.
        CtrgateError: What a worker raised of that kind.
        ClusterError: Where workers were lost more often than ``cluster.max_failures``, or Ray could not start them.
    """
    stop, log = folder / STOP_FILE, folder.resolve() / "workers.log"
    stop.unlink(missing_ok=True)
    log.touch()
    with started(cluster, num_cpus=num_workers * cluster.cpus_per_worker):
        trainer = ray.train.torch.TorchTrainer(
            _in_worker,
            train_loop_config={"work": work, "settings": settings, "log": str(log), "cwd": os.getcwd()},
            torch_config=ray.train.torch.TorchConfig(backend="gloo", timeout_s=cluster.patience_seconds),
            scaling_config=ray.train.ScalingConfig(
                num_workers=num_workers, resources_per_worker={"CPU": cluster.cpus_per_worker}
            ),
            run_config=ray.train.RunConfig(
                name="ray",
                storage_path=str(folder.resolve()),
                failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
                worker_runtime_env={"env_vars": cluster.environment},
            ),
        )
        with stop_requests(then=stop.touch) as asked, _shown(log):
            try:
                trainer.fit()
            except ray.train.TrainingFailedError as error:
                raise _own(error, cluster=cluster, restarted=restarted) from error
    if stop.exists():
        stop.unlink()
        raise Interrupted(
            f"stopped by {asked.number.name}; the state is saved, {same_command(restarted=restarted)} goes on from "
            "there",
            signal_number=asked.number,
        )


def _in_worker(arguments: Mapping[str, Any]) -> None:
    """One attempt of one worker."""
    context = ray.train.get_context()
    workers = Workers(rank=context.get_world_rank(), count=context.get_world_size())
    logging.getLogger().setLevel(logging.WARNING)  # Ray sets it to INFO, and FBGEMM then lists all of its settings
    console.quiet = not workers.is_first
    go_to(arguments["cwd"])
    with open(arguments["log"], "a", buffering=1, encoding="utf-8") as log:
        console.file = log  # as Ray's way of passing on what workers print adds much of its own
        try:
            arguments["work"](arguments["settings"], workers)
        except Interrupted:  # the state is saved; whoever asked knows
            return
        finally:
            console.file = sys.stderr
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def _own(error: Exception, *, cluster: ClusterConfig, restarted: bool) -> CtrgateError:
    """What to tell of a failed training: a worker's own error where it has one, else the first."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        for cause in causes(failure):
            if isinstance(cause, CtrgateError):
                return cause
    told = "; ".join(f"worker {rank}: {failure}" for rank, failure in failures.items()) or str(error)
    return ClusterError(
        f"training on workers failed {cluster.max_failures + 1} times (cluster.max_failures); "
        f"{same_command(restarted=restarted)} goes on from the last checkpoint. {told}"
    )


@contextmanager
def _shown(log: Path) -> Iterator[None]:
    """Print what is added to a file while a block runs."""
    ended = threading.Event()

    def follow() -> None:
        with log.open(encoding="utf-8") as file:
            file.seek(0, 2)
            while True:
                last = ended.wait(0.5)  # before reading, so that nothing is missed at the end
                text = file.read()
                if text:
                    console.print(text, end="", markup=False)
                if last:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
