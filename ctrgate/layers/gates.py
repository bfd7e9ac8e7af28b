"""Gates over fields and features, each with its paper's form and start."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.layers.linear import square_linear, xavier_linear
from ctrgate.layers.scaling import scale

__all__ = ["ContextGate", "InformationGate", "InstanceMask", "LinearFieldGate", "PersonalGate", "SqueezeExcitation"]


class ContextGate(nn.Module):
    """Scale every coordinate of the flat embedding by a factor that the row's context decides (slot: field).

    ``y = x * 2 sigmoid(A2 relu(A1 c + a1) + a2)`` (FinalMLP, AAAI 2023, feature gating). At the start ``a2 = 0`` and
    the factor is near 1; ``identity_start`` zeroes ``A2`` too, so that a new gate changes nothing.

    Without context (``context_dim=None``) the paper's code feeds a learned vector, zero at the start. Through a ReLU at
    zero it never gets a gradient, nor do ``A1``, ``a1`` and ``A2``: the gate is ``2 sigmoid(a2)``, one learned factor
    per coordinate. Those parameters are kept, so that counts equal the published ones, and the factor is computed once
    per batch, not once per row.

    Args:
        feature_dim: D, width of what is gated.
        context_dim: C, width of the context; None for the mode without.
        hidden_dim: Width of the gate's hidden layer.
        empty_dim: Width of the learned vector in the mode without context.
        identity_start: Start at a factor of exactly 1 (not in the paper).

    Shape:
        - features: ``(B, D)``
        - context: ``(B, C)`` or None
        - returns: ``(B, D)``

    Example:
        >>> gate = ContextGate(feature_dim=6, context_dim=2, hidden_dim=4, identity_start=True)
        >>> bool((gate(torch.ones(3, 6), torch.randn(3, 2)) == 1).all())
        True
    """

    slot: ClassVar[str] = "field"
    bounds: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def __init__(
        self,
        *,
        feature_dim: int,
        context_dim: int | None,
        hidden_dim: int,
        empty_dim: int = 1,
        identity_start: bool = False,
    ) -> None:
        super().__init__()
        self.empty_context = nn.Parameter(torch.zeros(1, empty_dim)) if context_dim is None else None
        self.hidden = xavier_linear(empty_dim if context_dim is None else context_dim, hidden_dim)
        self.output = xavier_linear(hidden_dim, feature_dim)
        if identity_start:
            nn.init.zeros_(self.output.weight)

    def forward(self, features: Tensor, context: Tensor | None) -> Tensor:
        return scale(features, self.factor(context))

    def factor(self, context: Tensor | None) -> Tensor:
        """The factors alone: ``(B, D)``, or ``(1, D)`` without context; between 0 and 2."""
        if context is not None:
            return 2 * torch.sigmoid(self.output(torch.relu(self.hidden(context))))
        with torch.no_grad(), torch.autocast(self.output.bias.device.type, enabled=False):
            constant = functional.linear(torch.relu(self.hidden(self.empty_context)), self.output.weight)
        return 2 * torch.sigmoid(constant + self.output.bias)

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        if self.empty_context is None:
            return {}
        reason = "without context a zero vector enters a ReLU, whose gradient at zero is zero"
        return dict.fromkeys(("empty_context", "hidden.weight", "hidden.bias", "output.weight"), reason)


class InformationGate(nn.Module):
    """Scale every new product of a cross layer by what the layer below says of it (slot: interaction).

    ``y = z * sigmoid(G c)``, G without bias (GDCN, CIKM 2023). At the start the factor is near one half; with
    ``G = 0`` it is one half exactly.

    Args:
        dim: D.
        rank: Of G (not in the paper); None for a full matrix.

    Shape:
        - features: ``(B, D)``, what is gated
        - context: ``(B, D)``, the layer below
        - returns: ``(B, D)``

    Example:
        >>> InformationGate(3)(torch.ones(2, 3), torch.zeros(2, 3))[0].tolist()
        [0.5, 0.5, 0.5]
    """

    slot: ClassVar[str] = "interaction"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, dim: int, *, rank: int | None = None) -> None:
        super().__init__()
        self.weight = square_linear(dim, rank=rank, bias=False)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        return scale(features, self.factor(context))

    def factor(self, context: Tensor) -> Tensor:
        """The factors alone: ``(B, D)``, between 0 and 1."""
        return torch.sigmoid(self.weight(context))


class LinearFieldGate(nn.Module):
    """Scale every coordinate by a mix of the same coordinate over all fields (slot: field).

    ``y = x * g`` with ``g_fd = sum_k W_fk x_kd + b_f`` (FinalNet, SIGIR 2023). No sigmoid: the factor is unbounded.
    ``W`` starts at zero and ``b`` at one, so that a new gate changes nothing.

    Args:
        num_fields: F.

    Shape:
        - fields: ``(B, F, D)``
        - returns: ``(B, F, D)``

    Example:
        >>> fields = torch.randn(2, 3, 5)
        >>> torch.equal(LinearFieldGate(3)(fields), fields)
        True
    """

    slot: ClassVar[str] = "field"

    def __init__(self, num_fields: int) -> None:
        super().__init__()
        self.mix = nn.Linear(num_fields, num_fields)
        nn.init.zeros_(self.mix.weight)
        nn.init.ones_(self.mix.bias)

    def forward(self, fields: Tensor) -> Tensor:
        return scale(fields, self.factor(fields))

    def factor(self, fields: Tensor) -> Tensor:
        """The factors alone: ``(B, F, D)``."""
        result: Tensor = self.mix(fields.transpose(1, 2)).transpose(1, 2)
        return result


class InstanceMask(nn.Module):
    """Scale a hidden vector by a mask computed from the row's embedding (slot: interaction).

    ``y = h * (A2 relu(A1 v + a1) + a2)`` (MaskNet, DLP-KDD 2021). Linear and unbounded: the mask starts near zero, not
    near one, so a new mask is not neutral.

    Args:
        feature_dim: N, width of what is masked.
        context_dim: C, width of the embedding.
        hidden_dim: Width of the mask's hidden layer.

    Shape:
        - features: ``(B, N)``
        - context: ``(B, C)``
        - returns: ``(B, N)``

    Example:
        >>> mask = InstanceMask(feature_dim=6, context_dim=2, hidden_dim=4)
        >>> mask(torch.ones(3, 6), torch.zeros(3, 2)).abs().sum().item()
        0.0
    """

    slot: ClassVar[str] = "interaction"

    def __init__(self, *, feature_dim: int, context_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = xavier_linear(context_dim, hidden_dim)
        self.output = xavier_linear(hidden_dim, feature_dim)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        return scale(features, self.factor(context))

    def factor(self, context: Tensor) -> Tensor:
        """The mask alone: ``(B, N)``."""
        result: Tensor = self.output(torch.relu(self.hidden(context)))
        return result


class SqueezeExcitation(nn.Module):
    """Scale every field by one factor that the means of all fields decide (slot: field).

    ``y_f = a_f x_f`` with ``a = act(W2 relu(W1 z))``, ``z_f`` the mean of ``x_f``, no biases (SENet, as in FiBiNET,
    RecSys 2019). With ``relu`` the factor can be zero for every row, and then stays so; ``sigmoid`` cannot.

    Args:
        num_fields: F.
        reduction: The hidden width is ``max(1, int(F / reduction))``; below 1 it expands.
        activation: Of the factor.

    Shape:
        - fields: ``(B, F, D)``
        - returns: ``(B, F, D)``

    Example:
        >>> gate = SqueezeExcitation(3, activation="sigmoid")
        >>> gate.factor(torch.zeros(2, 3, 5)).flatten(1)[0].tolist()
        [0.5, 0.5, 0.5]
    """

    slot: ClassVar[str] = "field"

    def __init__(
        self, num_fields: int, *, reduction: float = 3.0, activation: Literal["relu", "sigmoid"] = "relu"
    ) -> None:
        super().__init__()
        hidden_dim = max(1, int(num_fields / reduction))
        self.squeeze = xavier_linear(num_fields, hidden_dim, bias=False)
        self.excite = xavier_linear(hidden_dim, num_fields, bias=False)
        self._activation = activation
        self.bounds = (0.0, 1.0) if activation == "sigmoid" else None

    def forward(self, fields: Tensor) -> Tensor:
        return scale(fields, self.factor(fields))

    def factor(self, fields: Tensor) -> Tensor:
        """The factors alone: ``(B, F, 1)``, not negative."""
        excited = self.excite(torch.relu(self.squeeze(fields.mean(dim=2))))
        factor = torch.relu(excited) if self._activation == "relu" else torch.sigmoid(excited)
        return factor.unsqueeze(2)


class PersonalGate(nn.Module):
    """Scale a vector by what the row's context and the vector itself say, without moving the vector (slot: field).

    ``y = x * 2 sigmoid(A2 relu(A1 [c, stopgrad(x)] + a1) + a2)``: the gate of PEPNet (KDD 2023, arXiv 2302.01115), on
    embeddings (EPNet) or on the input of each hidden layer (PPNet). At the start ``a2 = 0`` and the factor is near 1;
    ``identity_start`` zeroes ``A2`` too, so that a new gate changes nothing.

    Args:
        feature_dim: D, width of what is gated.
        context_dim: C, width of the context.
        hidden_dim: Width of the gate's hidden layer.
        identity_start: Start at a factor of exactly 1 (not in the paper).

    Shape:
        - features: ``(B, D)``
        - context: ``(B, C)``
        - returns: ``(B, D)``

    Example:
        >>> gate = PersonalGate(feature_dim=6, context_dim=2, hidden_dim=4, identity_start=True)
        >>> features = torch.randn(3, 6)
        >>> torch.equal(gate(features, torch.randn(3, 2)), features)
        True
    """

    slot: ClassVar[str] = "field"
    bounds: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def __init__(self, *, feature_dim: int, context_dim: int, hidden_dim: int, identity_start: bool = False) -> None:
        super().__init__()
        self.hidden = xavier_linear(context_dim + feature_dim, hidden_dim)
        self.output = xavier_linear(hidden_dim, feature_dim)
        if identity_start:
            nn.init.zeros_(self.output.weight)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        return scale(features, self.factor(features, context))

    def factor(self, features: Tensor, context: Tensor) -> Tensor:
        """The factors alone: ``(B, D)``, between 0 and 2."""
        seen = torch.cat([context, features.detach()], dim=1)
        return 2 * torch.sigmoid(self.output(torch.relu(self.hidden(seen))))
