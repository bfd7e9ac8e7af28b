"""Gates of single values: one per row of a table, searched while the model learns, then closed or open for good."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

__all__ = ["ContinuationGate", "HardConcreteGate", "StraightThroughGate", "ValueGate"]


class ValueGate(nn.Module):
    """A factor for each row of a table; a row whose factor ends at zero can be dropped (slot: value).

    While it searches, the factor is soft and the penalty pulls it down. After ``close`` it is binary: zero, or the one
    constant ``open_factor``, and nothing is learned. Row 0, padding, is always kept and never penalised: it is zero.

    Args:
        num_rows: V.
        start: Where every logit starts.

    Shape:
        - ids: ``(n,)``, rows
        - returns: ``(n,)``, factors
    """

    slot: ClassVar[str] = "value"
    open_factor: float = 1.0
    closed: Tensor

    def __init__(self, num_rows: int, *, start: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full((num_rows,), start))
        self.register_buffer("closed", torch.zeros((), dtype=torch.bool))

    def forward(self, ids: Tensor) -> Tensor:
        return self.factor(ids)

    def factor(self, ids: Tensor) -> Tensor:
        """The factors of some rows."""
        if self.closed:  # of the ids alone: a vocabulary may be far larger than a batch
            kept = self.stays(self.logits.detach()[ids]) | (ids == 0)
            return kept.float() * self.open_factor
        return self.soft(self.logits[ids])

    def kept(self) -> Tensor:
        """Which rows stay: ``(V,)`` bool."""
        kept = self.stays(self.logits.detach())
        kept[0] = True
        return kept

    def penalty(self) -> Tensor:
        """The sum over all rows but padding of what each counts as, between 0 and 1."""
        return self.counted(self.logits[1:]).sum()

    def close(self) -> None:
        """Make it binary."""
        self.closed.fill_(True)
        self.logits.requires_grad_(False)

    def set_temperature(self, temperature: float) -> None:
        """How steep the factor is from now on; only continuation has a schedule of it."""

    def soft(self, logits: Tensor) -> Tensor:
        """The factors of logits while it searches."""
        raise NotImplementedError

    def stays(self, logits: Tensor) -> Tensor:
        """Whether a row of each logit stays when the gate is closed."""
        return logits > 0

    def counted(self, logits: Tensor) -> Tensor:
        """What each logit adds to the penalty."""
        raise NotImplementedError


class ContinuationGate(ValueGate):
    """``sigmoid(t m) / sigmoid(m_0)``, with a temperature t that rises, then ``[m > 0] / sigmoid(m_0)`` (slot: value).

    OptFS (WWW 2023, arXiv 2301.10909), as in the authors' code: m starts at ``m_0 = 0.5``, so that a new gate changes
    nothing, and a kept value's factor is 1.6065 in the end; a logit of exactly 0 is dropped. The penalty counts
    ``sigmoid(t m)``.

    Args:
        num_rows: V.
        start: ``m_0``.

    Example:
        >>> gate = ContinuationGate(4)
        >>> gate(torch.tensor([0, 3])).tolist()
        [1.0, 1.0]
        >>> with torch.no_grad():
        ...     gate.logits[3] = -0.1
        >>> gate.close()
        >>> gate(torch.tensor([0, 3])).tolist(), gate.kept().tolist()
        ([1.6065306663513184, 0.0], [True, True, True, False])
    """

    temperature: Tensor

    def __init__(self, num_rows: int, *, start: float = 0.5) -> None:
        super().__init__(num_rows, start=start)
        self.open_factor = 1 + math.exp(-start)
        self.register_buffer("temperature", torch.ones(()))

    def set_temperature(self, temperature: float) -> None:
        self.temperature.fill_(temperature)

    def soft(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(self.temperature * logits) * self.open_factor

    def counted(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(self.temperature * logits)


class StraightThroughGate(ValueGate):
    """``[m > 0]``, with the slope of ``sigmoid(m)`` for its own (slot: value; Bengio et al., arXiv 1308.3432).

    It is binary from the start: a value that closes gets a gradient all the same and may open again. The penalty
    counts ``sigmoid(m)``.

    Args:
        num_rows: V.
        start: Of the logits; above 0, so that a new gate changes nothing.
    """

    def __init__(self, num_rows: int, *, start: float = 0.5) -> None:
        super().__init__(num_rows, start=start)

    def soft(self, logits: Tensor) -> Tensor:
        smooth = torch.sigmoid(logits)
        return self.stays(logits).float() + smooth - smooth.detach()

    def counted(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)


class HardConcreteGate(ValueGate):
    """A stretched and clipped concrete variable, drawn anew for each row of the batch (slot: value).

    ``clip(sigmoid((log u - log(1 - u) + m) / beta) 1.2 - 0.1, 0, 1)``, u uniform; in evaluation
    ``clip(sigmoid(m) 1.2 - 0.1, 0, 1)``. The penalty counts the chance not to be zero (Louizos et al., ICLR 2018,
    arXiv 1712.01312, with their beta = 2/3). A value stays if its factor in evaluation is at least one half, ``m >= 0``
    (the paper keeps the factors; a factor of one for all that stay lets the served table be a plain one).

    Args:
        num_rows: V.
        start: Of the logits: at 2.5 the factor starts at 1 in evaluation, and near it in the mean in training.
    """

    beta: ClassVar[float] = 2 / 3
    low: ClassVar[float] = -0.1
    high: ClassVar[float] = 1.1

    def __init__(self, num_rows: int, *, start: float = 2.5) -> None:
        super().__init__(num_rows, start=start)

    def soft(self, logits: Tensor) -> Tensor:
        if self.training:
            uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
            concrete = torch.sigmoid((uniform.logit() + logits) / self.beta)
        else:
            concrete = torch.sigmoid(logits)
        return (concrete * (self.high - self.low) + self.low).clamp(0, 1)

    def stays(self, logits: Tensor) -> Tensor:
        return logits >= 0

    def counted(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits - self.beta * math.log(-self.low / self.high))
