"""Gates that choose among experts, from a row's context to one weight per expert: what all are, and the plain one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ctrgate.layers.mlp import Mlp

__all__ = ["ExpertGate", "SoftmaxGate"]


class ExpertGate(nn.Module):
    """From a context to the weights of the experts, and terms for the objective (slot: expert).

    Weights and terms are fp32 under autocast too. Terms are empty in evaluation. With one expert its weight is 1.

    Shape:
        - context: ``(B, C)``
        - returns: weights ``(B, K)``, not negative; scalars by name
    """

    slot: ClassVar[str] = "expert"

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        raise NotImplementedError

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        names = [name for name, _ in self.named_parameters()] if self.num_experts == 1 else []
        return dict.fromkeys(names, "the weight of a single expert is 1 whatever they are")


class SoftmaxGate(ExpertGate):
    """``softmax(A c + a)``: every expert takes part (slot: expert; MMoE, KDD 2018; PLE, RecSys 2020).

    Args:
        context_dim: C.
        num_experts: K.
        hidden_dims: Hidden layers before the last one; the papers have none, FuxiCTR's models do.
    """

    def __init__(self, context_dim: int, num_experts: int, *, hidden_dims: Sequence[int] = ()) -> None:
        super().__init__(num_experts)
        self.scores = Mlp(context_dim, hidden_dims=hidden_dims, output_dim=num_experts)

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.scores(context).float().softmax(dim=1), {}
