"""Feature selection: which values keep their rows, searched by gates before the model is trained for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Discriminator, Field, model_validator
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Batch
from ctrgate.features.layout import Layout
from ctrgate.layers.value_gates import ContinuationGate, HardConcreteGate, StraightThroughGate, ValueGate
from ctrgate.ranges import NotNegative, Positive

__all__ = ["SelectConfig", "ValueGates"]


@settings
class _Search:
    """What the searches share: N epochs with gates, then the weights of an early epoch and training with binary gates.

    The search neither stops early nor cuts a learning rate. Back at ``rewind_epoch``, tables and network are what they
    were at its start, gates stay closed or open, and the ``train`` section's epochs, strikes and cuts count from there.
    """

    penalty: NotNegative = 1e-5
    """Weight of each value's gate in the loss; a few divided by the number of train rows is a start. A pull that is
    small beside train.eps hardly moves a gate, and one far above it moves a gate that nothing holds by one learning
    rate a step (docs/selection.md)."""
    epochs: Annotated[int, Field(ge=2)] = 5
    """N, of the search."""
    rewind_epoch: Annotated[int, Field(ge=0)] = 1
    """The epoch, from 0, to whose start the weights go back."""
    learning_rate: Positive | None = None
    """Of the gates' Adam; null for ``train.learning_rate``."""

    @model_validator(mode="after")
    def _rewinds_into_the_search(self) -> Self:
        if self.rewind_epoch > self.epochs:
            raise ValueError(f"rewind_epoch {self.rewind_epoch} lies behind the search's {self.epochs} epochs")
        return self

    def gate(self, num_rows: int) -> ValueGate:
        """The gate of a table."""
        raise NotImplementedError

    def temperature(self, epoch: int) -> float:  # noqa: ARG002 - of those with a schedule
        """The gates' temperature in an epoch of the search, from 0."""
        return 1.0


@settings
class ContinuationConfig(_Search):
    """OptFS (WWW 2023): sigmoids that become steps."""

    name: Literal["continuation"] = "continuation"
    start: float = 0.5
    """Of the gates' logits."""
    final_temperature: Annotated[float, Field(ge=1)] = 200.0
    """Of the last epoch of the search; it rises from 1, by the same factor at each epoch's start."""

    def gate(self, num_rows: int) -> ValueGate:
        """The gate of a table."""
        return ContinuationGate(num_rows, start=self.start)

    def temperature(self, epoch: int) -> float:
        """``final_temperature ** (epoch / (N - 1))``."""
        return float(self.final_temperature ** (epoch / (self.epochs - 1)))


@settings
class StraightThroughConfig(_Search):
    """Steps whose gradient is a sigmoid's."""

    name: Literal["straight_through"] = "straight_through"
    start: Positive = 0.5
    """Of the gates' logits."""

    def gate(self, num_rows: int) -> ValueGate:
        """The gate of a table."""
        return StraightThroughGate(num_rows, start=self.start)


@settings
class HardConcreteConfig(_Search):
    """Gates drawn at random, and the expected number of open ones as the penalty."""

    name: Literal["hard_concrete"] = "hard_concrete"
    start: float = 2.5
    """Of the gates' logits."""

    def gate(self, num_rows: int) -> ValueGate:
        """The gate of a table."""
        return HardConcreteGate(num_rows, start=self.start)


SelectConfig = Annotated[ContinuationConfig | StraightThroughConfig | HardConcreteConfig, Discriminator("name")]


class ValueGates(nn.Module):
    """The value gates of all vocabularies; every read of a column, also by extra lookups, passes its vocabulary's gate.

    So a dropped value gives nothing anywhere, as padding does, and its rows can be left out of what is served.

    Args:
        config: Their form.
        layout: Its tables and the columns that read them.
    """

    def __init__(self, config: SelectConfig, *, layout: Layout) -> None:
        super().__init__()
        self.tables = tuple(layout.tables)
        self.gates = nn.ModuleList(config.gate(num_rows) for num_rows in layout.tables.values())
        self._table_of = layout.id_tables()

    def forward(self, batch: Batch) -> Batch:
        """The batch with a factor for each id."""
        gates = self.by_table()
        ids = {
            column: replace(of, factors=gates[self._table_of[column]].factor(of.values))
            for column, of in batch.ids.items()
        }
        return replace(batch, ids=ids)

    def by_table(self) -> dict[str, ValueGate]:
        """The gate of each vocabulary."""
        found = {}
        for table, gate in zip(self.tables, self.gates, strict=True):
            assert isinstance(gate, ValueGate)
            found[table] = gate
        return found

    @property
    def closed(self) -> bool:
        """Whether the search is over."""
        return all(bool(gate.closed) for gate in self.by_table().values())

    def close(self) -> None:
        """Make every gate binary."""
        for gate in self.by_table().values():
            gate.close()

    def set_temperature(self, temperature: float) -> None:
        """Of every gate."""
        for gate in self.by_table().values():
            gate.set_temperature(temperature)

    def penalty(self) -> Tensor:
        """The sum of all gates' penalties, over whole vocabularies."""
        return torch.stack([gate.penalty() for gate in self.by_table().values()]).sum()

    def feature_ratio(self) -> float:
        """The share of rows, padding left out, that would stay if the search ended now."""
        kept = [gate.kept()[1:] for gate in self.by_table().values()]
        return float(torch.cat(kept).float().mean())

    def summary(self) -> dict[str, Any]:
        """Per vocabulary how many values it has and how many stay."""
        lines: list[Mapping[str, Any]] = []
        for table, gate in self.by_table().items():
            kept = gate.kept()
            lines.append(
                {
                    "table": table,
                    "values": kept.numel() - 2,
                    "kept": int(kept[2:].sum()),
                    "unknown_kept": bool(kept[1]),
                }
            )
        return {"feature_ratio": self.feature_ratio(), "tables": lines}
