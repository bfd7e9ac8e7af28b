"""One step of everything that moves: Adam for the network and dense tables, the fused tables' rate and decay."""

from __future__ import annotations

import torch
from torch import Tensor

from ctrgate.models.tables import DenseRule, FusedRule, TablesConfig
from ctrgate.training.model import CtrModel
from ctrgate.training.selection import SelectConfig
from ctrgate.training.settings import TrainSettings

__all__ = ["Optimizer"]


class Optimizer:
    """Adam with coupled L2, clipping and a learning rate that can be cut.

    Value gates have neither L2 nor clipping, and may have a rate of their own.

    L2 enters the gradient before clipping, ``g + lambda w``, over whole tables and the projections beside them: what
    differentiating ``lambda / 2 * |W|^2`` gives (FuxiCTR's embedding regulariser), without building that graph.

    Args:
        model: Whose parameters move.
        train: Learning rate, clipping and the network's L2.
        tables: The tables' rule.
        select: The gates' search, where there is one.
    """

    def __init__(
        self, model: CtrModel, *, train: TrainSettings, tables: TablesConfig, select: SelectConfig | None = None
    ) -> None:
        self._model, self._train, self._rule = model, train, tables.rule
        self.parameters: dict[str, Tensor] = {
            f"network.{name}": parameter for name, parameter in model.network.named_parameters()
        }
        self.parameters |= {f"table.{name}": weight for name, weight in model.lookups.dense_tables().items()}
        table_l2 = tables.rule.l2 if isinstance(tables.rule, DenseRule) else 0.0
        self._l2 = {name: table_l2 if _beside_tables(name) else train.network_l2 for name in self.parameters}
        self._l2 |= {f"network.{name}": 0.0 for name in model.network.spared_by_l2()}
        self._clipped = list(self.parameters.values())
        gates = {f"gate.{name}": logits for name, logits in model.gates.named_parameters()} if model.gates else {}
        self.parameters |= gates
        self._gates = list(gates.values())
        self._gates_rate = (select.learning_rate if select else None) or train.learning_rate
        self.restart()

    def restart(self) -> None:
        """Forget all that was gathered, and cuts of the learning rate."""
        groups = [{"params": self._clipped, "lr": self._train.learning_rate}]
        if self._gates:
            groups.append({"params": self._gates, "lr": self._gates_rate})
        self._adam = torch.optim.Adam(groups, lr=self._train.learning_rate, eps=self._train.eps, fused=True)
        self.set_factor(1.0)

    def step(self, loss: Tensor, *, number: int) -> None:
        """Back-propagate a loss and move everything.

        Args:
            loss: A scalar.
            number: Of this step, from 0; decides when fused tables decay.
        """
        torch.autograd.backward(loss)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                l2 = self._l2.get(name, 0.0)
                if l2 and parameter.grad is not None:
                    parameter.grad.add_(parameter, alpha=l2)
        if self._train.clip_norm is not None:
            _clip(self._clipped, self._train.clip_norm)
        self._adam.step()
        self._adam.zero_grad()  # now: gradients of a CUDA graph lie in memory that the next forward pass takes
        if isinstance(self._rule, FusedRule) and self._rule.decay and (number + 1) % self._rule.decay_every == 0:
            with torch.no_grad():
                for shard in self._model.lookups.shards():
                    shard.weight.mul_(1 - self._rule.decay * self.factor)
        self._model.lookups.zero_padding()

    @property
    def learning_rate(self) -> float:
        """Adam's rate now."""
        return max(self._train.learning_rate * self.factor, self._train.min_learning_rate)

    def set_factor(self, factor: float) -> None:
        """Multiply every starting rate by ``factor``; none falls below ``min_learning_rate``."""
        self.factor = factor
        for group, rate in zip(self._adam.param_groups, (self.learning_rate, self._gates_rate * factor), strict=False):
            group["lr"] = rate
        if isinstance(self._rule, FusedRule):
            self._model.lookups.set_learning_rate(max(self._rule.learning_rate * factor, self._train.min_learning_rate))

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Adam's state by parameter name, to be saved; empty before the first step."""
        return {name: dict(self._adam.state[parameter]) for name, parameter in self.parameters.items()}

    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take up a saved state, by parameter name."""
        for name, parts in state.items():
            self._adam.state[self.parameters[name]] = {
                key: part.clone().to(self.parameters[name].device) for key, part in parts.items()
            }


def _clip(parameters: list[Tensor], most: float) -> None:
    """What ``clip_grad_norm_`` does, which multiplies gradients by 1 where nothing is cut; a GPU is not asked first."""
    norm = torch.nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    if norm.device.type == "cpu" and norm + 1e-6 <= most:
        return
    torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)


def _beside_tables(name: str) -> bool:
    """Whether the tables' L2 covers a parameter: tables, and the projections of numbers and vectors."""
    return name.startswith(("table.", "network.projections."))
