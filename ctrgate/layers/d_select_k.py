"""DSelect-k: few experts by binary codes that learn smoothly."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ctrgate.layers.experts import ExpertGate
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.routing import entropy, mean_or_zero, small_linear, smooth_step

__all__ = ["DSelectK"]


class DSelectK(ExpertGate):
    """k selectors that each settle on one expert, by codes of bits through a smooth step (slot: expert).

    Selector s gives expert i the weight ``prod_j (S(z_sj) if bit j of i else 1 - S(z_sj))`` over its ``ceil(log2 K)``
    bits; the selectors are mixed by a softmax. z and the mix are linear in the context (NeurIPS 2021, arXiv 2106.03760,
    the per-example form). Terms: the mean entropy of the
    selectors, and where K is no power of two the inverse of the share that falls on experts, so that codes without an
    expert lose theirs.

    Args:
        context_dim: C.
        num_experts: K.
        num_chosen: k, the number of selectors.
        gamma: Width of the smooth step: once every ``|z| >= gamma / 2``, exactly k experts are left.
        entropy: Weight of the entropy.
    """

    codes: Tensor

    def __init__(
        self, context_dim: int, num_experts: int, *, num_chosen: int = 2, gamma: float = 1.0, entropy: float = 1e-3
    ) -> None:
        super().__init__(num_experts)
        self.num_chosen = num_chosen
        num_bits = math.ceil(math.log2(num_experts))
        bits = torch.arange(num_experts)[:, None] >> torch.arange(num_bits)
        self.register_buffer("codes", (bits & 1).bool(), persistent=False)
        self._gamma, self._entropy = gamma, entropy
        self._is_full = 2**num_bits == num_experts
        self.bits = small_linear(context_dim, num_chosen * num_bits, gamma=gamma) if num_bits else None
        self.mix = xavier_linear(context_dim, num_chosen)

    def forward(self, context: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        mix = self.mix(context).float().softmax(dim=1)
        if self.bits is None:
            return mix.sum(dim=1, keepdim=True), {}
        z = self.bits(context).float().unflatten(1, (self.num_chosen, -1))
        step = smooth_step(z, gamma=self._gamma).unsqueeze(2)  # (B, k, 1, bits)
        chosen = torch.where(self.codes, step, 1 - step).prod(dim=3)  # (B, k, K)
        weights = (mix.unsqueeze(2) * chosen).sum(dim=1)  # a product of matrices would be bf16 under autocast
        if not self.training:
            return weights, {}
        terms = {"entropy": self._entropy * mean_or_zero(entropy(chosen))}
        if not self._is_full:
            terms["unused_codes"] = self._entropy * mean_or_zero(1 / chosen.sum(dim=2).clamp(min=1e-3))
        return weights, terms

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        mix = ("mix.weight", "mix.bias") if self.num_chosen == 1 else ()
        return super().untrained() | dict.fromkeys(mix, "a softmax over one selector is 1")
