"""A gate that the events of a history vote in, and the contrast between what whole and masked histories say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.mlp import Mlp
from ctrgate.layers.routing import mean_or_zero

__all__ = ["BehaviourGate", "contrast", "drop_events"]


class BehaviourGate(nn.Module):
    """``g = sum_i w_i v_i`` over the real events of a history, what is shown deciding with them (slot: expert).

    AW-MoE, ICDE 2023, arXiv 2306.05011. That a gate unit and an activation unit make the experts' factors of the
    behaviours is said in the abstract; the rest is our reading, as the full text was not at hand: each event votes
    ``v_i = GateUnit([h_i, q, h_i * q])`` for the K experts, and counts for ``w_i = ActivationUnit([h_i, q, h_i * q])``,
    both MLPs with ReLU. A row without events takes learned numbers for the sum, which start at ``1 / K``. With
    normalisation ``none`` factors are unbounded, may be negative, and grow with the history.

    Factors are fp32 under autocast too. There are no terms: ``contrast`` needs the rows' users.

    Args:
        dim: D.
        num_experts: K.
        hidden_dims: Of the gate unit.
        activation_hidden_dims: Of the activation unit.
        normalisation: Of the factors over the experts.
        scaled: Whether the sum is divided by the root of the number of events.

    Shape:
        - query: ``(B, D)``, what is shown
        - keys: ``(B, T, D)``, the history
        - mask: ``(B, T)`` bool, True where real
        - returns: factors ``(B, K)``; no terms
    """

    slot: ClassVar[str] = "expert"

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        hidden_dims: Sequence[int] = (80, 40),
        activation_hidden_dims: Sequence[int] = (80, 40),
        normalisation: Literal["none", "softmax", "sigmoid"] = "none",
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.shares = normalisation == "softmax"
        self._normalisation, self._scaled = normalisation, scaled
        self.gate_unit = Mlp(3 * dim, hidden_dims=hidden_dims, output_dim=num_experts)
        self.activation_unit = Mlp(3 * dim, hidden_dims=activation_hidden_dims, output_dim=1)
        self.empty = nn.Parameter(torch.full((num_experts,), 1 / num_experts))

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.gather(self.votes(query, keys), mask), {}

    def votes(self, query: Tensor, keys: Tensor) -> Tensor:
        """``w_i v_i`` of each event, ``(B, T, K)``; at padding of no meaning."""
        queries = query.unsqueeze(1).expand(-1, keys.size(1), -1)
        pairs = torch.cat([keys, queries, keys * queries], dim=2)
        votes: Tensor = self.activation_unit(pairs).float() * self.gate_unit(pairs).float()
        return votes

    def gather(self, votes: Tensor, mask: Tensor) -> Tensor:
        """The factors ``(B, K)`` of some events' votes: an event's vote is the same whichever others are there."""
        real = mask.unsqueeze(2)
        found = votes.masked_fill(~real, 0.0).sum(dim=1)
        if self._scaled:
            found = found / real.sum(dim=1).clamp(min=1).sqrt()
        found = torch.where(real.any(dim=1), found, self.empty)
        if self._normalisation == "softmax":
            return found.softmax(dim=1)
        return found.sigmoid() if self._normalisation == "sigmoid" else found

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        names = [name for name, _ in self.named_parameters()] if self.shares and self.num_experts == 1 else []
        return dict.fromkeys(names, "a softmax over a single expert is 1 whatever they are")


def drop_events(mask: Tensor, *, share: float) -> Tensor:
    """A mask that has lost each real event with a chance of ``share``, but never the last one that was left.

    Draws from torch's generator, one number per event, and keeps those of at least ``share``; where there is none, the
    event with the largest.

    Shape:
        - mask, returns: ``(B, T)`` bool
    """
    draws = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1.0)
    largest = draws.amax(dim=1, keepdim=True)
    return mask & ((draws >= share) | (draws == largest))


def contrast(factors: Tensor, masked: Tensor, *, present: Tensor, groups: Tensor | None, temperature: float) -> Tensor:
    """InfoNCE: a row's factors are to be nearer to those of its masked history than to those of other users.

    ``mean_b -log(exp(s(g_b, g'_b) / t) / (exp(s(g_b, g'_b) / t) + sum_{c in N(b)} exp(s(g_b, g_c) / t)))``, s the
    cosine, over rows with events; N(b) are such rows of other users. The abstract of AW-MoE names a contrastive loss on
    what the gate gives; this form of it is our choice. The cosine keeps the factors from growing. Without ``groups``
    every other row counts as another user's, though some are of the same one, whose gates ought to be alike.

    Shape:
        - factors, masked: ``(B, K)``, of the whole and of the masked history
        - present: ``(B,)`` bool, True where there are events
        - groups: ``(B,)`` int64, the user of each row, or None
        - returns: scalar, fp32; 0 without such rows

    Example:
        >>> factors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> everyone = torch.tensor([True, True, True])
        >>> users = torch.tensor([7, 7, 7])
        >>> float(contrast(factors, factors, present=everyone, groups=users, temperature=0.1))
        0.0
    """
    with torch.autocast(factors.device.type, enabled=False):  # a product of matrices would be bf16
        one, other = (functional.normalize(part.float()[present], dim=1) for part in (factors, masked))
        same = (one * other).sum(dim=1, keepdim=True) / temperature
        across = one @ one.T / temperature
        if groups is None:
            foreign = ~torch.eye(len(one), dtype=torch.bool, device=one.device)
        else:
            users = groups[present]
            foreign = users.unsqueeze(1) != users
        logits = torch.cat([same, across.masked_fill(~foreign, -torch.inf)], dim=1)
        return mean_or_zero(logits.logsumexp(dim=1) - same.squeeze(1))
