"""The training loop of one process: steps, evaluation, cuts and strikes, checkpoints, interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ctrgate.contracts import Batch, Ids, Output
from ctrgate.data.prefetch import prefetch
from ctrgate.data.reader import Order, Reader
from ctrgate.data.transfer import transfer_to
from ctrgate.errors import ArtifactError, DataError, Interrupted
from ctrgate.models.tables import FusedRule, TablesConfig
from ctrgate.progress import Bar, bar, console
from ctrgate.row_ids import UNKNOWN_ID
from ctrgate.training.checkpoint import Checkpoints, Progress, load_weights
from ctrgate.training.model import CtrModel
from ctrgate.training.objective import selection_loss
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.selection import SelectConfig, ValueGates
from ctrgate.training.settings import TrainSettings
from ctrgate.training.stop import StopRequest, same_command, stop_requests
from ctrgate.training.task import Task
from ctrgate.training.workers import ALONE, Workers

__all__ = ["Fit", "replace_by_unknown"]


@dataclass(kw_only=True)
class Fit:
    """One run of training; ``resume``, then ``run``.

    Args:
        model: At its start; the checkpoints' weights are taken up if there are any.
        optimizer: Of that model.
        task: What it is trained for.
        train: Rows to learn from.
        valid: Rows to select by; None trains for all epochs and keeps the last state.
        settings: How.
        tables: The tables' rule, for its L2 and the share of unknown ids.
        seed: Decides the order of rows; the network's randomness is torch's, seeded by the caller.
        checkpoints: Where states are kept.
        select: The search for values before training; the model then has value gates.
        workers: The processes that train together; each takes its slice of every batch.
        forward: What a step calls, where it is not the model itself: the same model spread over processes.
        stop_file: Training stops, its state saved, once this file is there.
    """

    model: CtrModel
    optimizer: Optimizer
    task: Task
    train: Reader
    valid: Reader | None
    settings: TrainSettings
    tables: TablesConfig
    seed: int
    checkpoints: Checkpoints
    select: SelectConfig | None = None
    workers: Workers = ALONE
    forward: Callable[[Batch], tuple[Output, torch.Tensor]] | None = None
    stop_file: Path | None = None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self._transfer = transfer_to(self.model.device)

    def resume(self) -> Progress:
        """Take up the last checkpoint, if there is one."""
        self.progress = self.checkpoints.resume(self.model, self.optimizer)
        return self.progress

    def run(self, record: Callable[[dict[str, float]], None]) -> Progress:
        """Train until the strikes are used up or all epochs are done.

        Args:
            record: Called with a line of metrics after every epoch.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM, with the state saved.
            DataError: Where the loss is no longer finite.
        """
        with stop_requests(self.stop_file) as stop:
            while not self.progress.finished:
                self._begin_epoch()
                rows_per_second = self._epoch(stop)
                line = self._end_of_epoch(rows_per_second)
                if self.workers.is_first:
                    record(line)
                best = self.progress.best_step == self.progress.step
                self.checkpoints.save(
                    self.model, self.optimizer, self.progress, best=best, rewind=self._is_rewind_point()
                )
        return self.progress

    @property
    def monitor(self) -> str:
        """The metric that is to improve."""
        return self.settings.monitor or next(iter(self.task.larger_is_better))

    @property
    def _gates(self) -> ValueGates | None:
        """The value gates while they are searched."""
        return None if self.progress.rewound else self.model.gates

    def _is_rewind_point(self) -> bool:
        """Whether this is the state that the weights go back to after the search."""
        return self._gates is not None and self.select is not None and self.progress.epoch == self.select.rewind_epoch

    def _begin_epoch(self) -> None:
        """Where values are searched: keep the first state if it is wanted again, move on, or go back."""
        if self._gates is None or self.select is None:
            return
        if self.progress.step == 0 and self._is_rewind_point():
            self.checkpoints.save(self.model, self.optimizer, self.progress, best=False, rewind=True)
        if self.progress.epoch < self.select.epochs:
            self._gates.set_temperature(self.select.temperature(self.progress.epoch))
            return
        folder = self.checkpoints.find("rewind")
        if folder is None:
            raise ArtifactError(
                f"{self.checkpoints.folder} has lost its rewind checkpoint; train again with train.restart=true"
            )
        ratio = self._gates.feature_ratio()
        console.print(f"{ratio:.1%} of the values stay; back to the weights of {folder.name} with binary gates")
        if ratio == 1:
            console.print("nothing was dropped: raise select.penalty, or select.learning_rate if gates move too slowly")
        elif ratio < 0.01:
            console.print("nearly nothing stays: lower select.penalty, a few divided by the number of train rows")
        load_weights(self.model, folder, gates=False)
        self._gates.close()
        self.optimizer.restart()
        self.progress.rewound = True

    def _epoch(self, stop: StopRequest) -> float:
        """The rest of the running epoch; returns its rows per second."""
        progress, settings = self.progress, self.settings
        order = Order(
            batch_size=settings.batch_size,
            seed=self.seed,
            epoch=progress.epoch,
            first_batch=progress.batch,
            buffer_row_groups=settings.buffer_row_groups,
            worker=self.workers.rank,
            num_workers=self.workers.count,
        )
        self.model.train()
        device = self.model.device
        total, before = torch.tensor(progress.loss_sum, dtype=torch.float64, device=device), progress.rows
        started = time.monotonic()
        with bar(f"epoch {progress.epoch + 1}", total=self.train.num_rows - before) as shown:
            for batch in prefetch(self.train.batches(order)):
                done = self.step(batch, asked=stop.asked)
                total += done.loss * done.num_rows
                progress.rows += done.num_rows
                progress.batch += 1
                progress.step += 1
                self._show(shown, done.num_rows, total)
                # Workers stop together, so a request made during a step has to wait for the next one.
                ends = done.asked if self.workers.count > 1 else stop.asked
                if ends or (settings.checkpoint_every and progress.step % settings.checkpoint_every == 0):
                    self._sum_up(total)
                    self.checkpoints.save(self.model, self.optimizer, progress, best=False)
                    total.fill_(progress.loss_sum)
                if ends:
                    raise Interrupted(
                        f"stopped by {stop.name} after step {progress.step}; the state is saved, "
                        f"{same_command(restarted=settings.restart)} goes on from there",
                        signal_number=stop.number,
                    )
        self._sum_up(total)
        return (progress.rows - before) / max(time.monotonic() - started, 1e-9)

    def step(self, batch: Batch, *, asked: bool = False) -> Done:
        """One step on one batch, of ``progress.step``, which it leaves as it is.

        Args:
            batch: Of the train rows.
            asked: Whether this process was asked to stop.
        """
        if self.tables.unknown_share:
            batch = replace_by_unknown(batch, share=self.tables.unknown_share)
        num_rows, scale, examples = batch.num_rows, None, 1.0
        batch = self.task.example(batch)
        if self.workers.count > 1:  # means over all workers' examples, once gradients are averaged over workers
            mass = self.task.mass(batch).double()
            mine = torch.cat([torch.tensor([num_rows, asked, batch.num_rows], dtype=torch.float64), mass])
            all_of_them = self.workers.total(mine)
            num_rows, asked = int(all_of_them[0]), bool(all_of_them[1])
            shares = (
                mine[2:] * self.workers.count / all_of_them[2:].clamp(min=torch.finfo(torch.float32).tiny)
            ).float()
            examples, scale = float(shares[0]), shares[1:]
        batch = self._transfer(batch)
        output, squares = (self.forward or self.model)(batch)
        loss = self.task.loss(output, batch, scale)
        rule = self.tables.rule
        penalty = rule.l2 / 2 * squares / batch.num_rows * examples if isinstance(rule, FusedRule) and rule.l2 else 0.0
        if self._gates is not None and self.select is not None:
            penalty = penalty + selection_loss(self._gates, penalty=self.select.penalty)
        self.optimizer.step(loss + penalty, number=self.progress.step)
        return Done(loss=loss.detach(), num_rows=num_rows, asked=asked)

    def _show(self, shown: Bar, num_rows: int, total: torch.Tensor) -> None:
        now = self.progress.step % 20 == 0  # reading the loss waits for the step
        shown.advance(num_rows, note=f"loss {float(total) / self.progress.rows:.4f}" if now else None)

    def _sum_up(self, total: torch.Tensor) -> None:
        self.progress.loss_sum = float(self.workers.total(total)) / self.workers.count
        if not math.isfinite(self.progress.loss_sum):
            raise DataError(
                f"the loss is no longer finite in epoch {self.progress.epoch + 1} by step {self.progress.step}; lower "
                "train.learning_rate or tables.rule.learning_rate, set train.clip_norm, or scale the numeric features"
            )

    def _end_of_epoch(self, rows_per_second: float) -> dict[str, float]:
        """Measure, judge, and move on to the next epoch; returns the line of metrics."""
        progress, settings = self.progress, self.settings
        line = {
            "step": progress.step,
            "epoch": progress.epoch + 1,
            "train/loss": progress.loss_sum / progress.rows,
            "rows_per_second": rows_per_second,
            "learning_rate": self.optimizer.learning_rate,
        }
        searching = self._gates is not None
        if self.model.gates is not None:
            line["feature_ratio"] = self.model.gates.feature_ratio()
        improved = self.valid is None and not searching
        if self.valid is not None:
            measured = self._measure(self.valid)
            line |= {f"valid/{name}": value for name, value in measured.items()}
            improved = not searching and self._judge(measured[self.monitor])
        progress.epoch += 1
        progress.batch = progress.rows = 0
        progress.loss_sum = 0.0
        epochs = progress.epoch - (self.select.epochs if self.select else 0)
        progress.finished = epochs >= settings.epochs or progress.strikes >= settings.strikes
        if improved:
            progress.best_step = progress.step
        return line

    def _judge(self, value: float) -> bool:
        """Whether the monitored value improved; if not, a strike and a cut of the learning rate."""
        progress, settings = self.progress, self.settings
        sign = 1 if self.task.larger_is_better[self.monitor] else -1
        if progress.best is None or sign * (value - progress.best) > settings.min_improvement:
            progress.best, progress.strikes = value, 0
            return True
        progress.strikes += 1
        progress.factor *= settings.learning_rate_factor
        self.optimizer.set_factor(progress.factor)
        return False

    def _measure(self, reader: Reader) -> dict[str, float]:
        self.workers.average(self.model.network.buffers())  # batch norm's statistics; the network's own otherwise
        measured = self.task.measure(self.model, reader, title="valid")
        kept = "" if self._gates is None else f"; searching, {self._gates.feature_ratio():.1%} of the values stay"
        shown = ", ".join(f"{title} {measured[name]:.5f}" for name, title in self.task.shown.items())
        console.print(f"epoch {self.progress.epoch + 1}: valid {shown}{kept}", markup=False)
        return measured


def replace_by_unknown(batch: Batch, *, share: float) -> Batch:
    """Replace each real id by the unknown one with a chance of ``share``; padding stays."""

    def replaced(ids: Ids) -> Ids:
        chosen = (torch.rand(ids.values.shape, device=ids.values.device) < share) & (ids.values > UNKNOWN_ID)
        return Ids(values=ids.values.masked_fill(chosen, UNKNOWN_ID), lengths=ids.lengths, weights=ids.weights)

    return replace(batch, ids={name: replaced(ids) for name, ids in batch.ids.items()})


@dataclass(frozen=True, kw_only=True)
class Done:
    """A step: its loss (over workers, the mean of theirs is the batch's), the rows of the global batch, and whether any
    worker was asked to stop."""

    loss: torch.Tensor
    num_rows: int
    asked: bool
