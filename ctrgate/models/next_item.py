"""What networks of the next-item task share: where items are found, the history read, the queries given."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout
from ctrgate.layers.by_length import encode_by_length
from ctrgate.models.inputs import History, Inputs
from ctrgate.models.network import NetworkConfig

__all__ = ["HISTORIES_AT_ONCE", "Items", "NextItemNetwork", "NextItemSettings", "item_history"]

HISTORIES_AT_ONCE = 1_024
"""Rows that go through such a network together in evaluation: every layer holds (B, T, D), which fields do not."""


@settings
class Items:
    """Where the items of a dataset are found."""

    target: str
    """The column of the next item, and the feature by whose name items are decoded."""
    history: str
    """The column of the items before it."""
    aligned: tuple[str, ...]
    """All columns of ids of the history's group."""
    table: str
    """The table that both read."""
    num_rows: int
    """Its rows, padding and unknown included."""
    max_length: int
    """Of the history."""
    seen: str | None
    """The column of what is no candidate, or none."""

    @classmethod
    def of(cls, layout: Layout, config: NetworkConfig, *, mask_seen: bool, seen_from: str) -> Items:
        """What a network means in a layout.

        Args:
            layout: The encoded columns.
            config: The network.
            mask_seen: Whether what was seen is no candidate.
            seen_from: The column that holds it; empty for the history.

        Raises:
            ConfigError: Where the network reads no history, or ``seen_from`` is no column of items.
        """
        read = [request for request in config.embeddings(layout) if isinstance(request, History)]
        if len(read) != 1:
            raise ConfigError("objective.name: next_item needs a network that reads one history; see model.name")
        (group,) = (group for group in layout.sequences if group.name == read[0].sequence)
        (member,) = (member for member in group.members if member.name == read[0].member)
        columns = {member.column: member.table for group in layout.sequences for member in group.members}
        columns |= {field.name: field.table for field in layout.fields if field.kind in ("bag", "weighted_bag")}
        if seen_from and columns.get(seen_from) != member.table:
            known = [column for column, table in columns.items() if table == member.table]
            raise ConfigError(f"objective.seen_from: {seen_from} holds no items; {', '.join(known)} do")
        return cls(
            target=read[0].target,
            history=member.column,
            aligned=tuple(member.column for member in group.members if member.table),
            table=member.table,
            num_rows=layout.tables[member.table],
            max_length=group.max_length,
            seen=(seen_from or member.column) if mask_seen else None,
        )


def item_history(layout: Layout, *, sequence: str) -> History:
    """The member of a sequence group that holds the items themselves: the one that reads a categorical field's table.

    Args:
        layout: The encoded columns.
        sequence: Name of the group; empty for the only one.

    Raises:
        ConfigError: Where there is no such group, or not exactly one such member.
    """
    groups = [group for group in layout.sequences if sequence in ("", group.name)]
    if len(groups) != 1:
        known = ", ".join(group.name for group in layout.sequences) or "no sequence at all"
        raise ConfigError(f"model.sequence: {sequence or 'no name given'}; the dataset has {known}")
    field_of = {field.table: field.name for field in reversed(layout.fields) if field.kind == "id"}
    found = [member for member in groups[0].members if member.table in field_of]
    if len(found) != 1:
        raise ConfigError(
            f"model.sequence: {groups[0].name} has {len(found)} members that share the table of a categorical field; "
            "the next item is of one, let that member name the item's table in share"
        )
    return History(sequence=groups[0].name, member=found[0].name, target=field_of[found[0].table])


@settings
class NextItemSettings:
    """What the settings of every next-item network have; one says how to make its ``encoder``."""

    task: ClassVar[Literal["next_item"]] = "next_item"
    causal: ClassVar[bool] = True
    """Whether what the encoder says of an event depends on that event and earlier ones alone."""

    @property
    def sees_padding(self) -> bool:
        """Whether what the encoder says of events depends on how much padding follows them."""
        return False

    sequence: str = ""
    """The sequence group that is read; empty for the only one."""

    def embeddings(self, layout: Layout) -> tuple[History, ...]:
        """The history's items, through the items' own table."""
        return (item_history(layout, sequence=self.sequence),)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        encoder = self.encoder(dim=inputs.dims[inputs.histories[0].key])
        return NextItemNetwork(encoder, inputs=inputs, causal=self.causal, sees_padding=self.sees_padding)

    @abstractmethod
    def encoder(self, *, dim: int) -> nn.Module:
        """``(x (B, T, D), mask (B, T)) -> (B, T, D)`` for items of a width."""


class NextItemNetwork(nn.Module):
    """A history of items to queries, to be compared with rows of the items' table.

    Args:
        encoder: ``(x (B, T, D), mask (B, T)) -> (B, T, D)``, finite also for rows without any event.
        inputs: What stands below it; its history tells what is read.
        causal: Whether the encoder's value at a position depends on that position and earlier ones alone, so that every
            position can be trained at once.
        sees_padding: Whether padding means something to the encoder; if not, short histories are computed as such.
    """

    def __init__(self, encoder: nn.Module, *, inputs: Inputs, causal: bool, sees_padding: bool = False) -> None:
        super().__init__()
        (self._history,) = inputs.histories
        self._causal, self._sees_padding = causal, sees_padding
        self.encoder = encoder

    def forward(self, fields: Fields) -> Output:
        """``query``: the value at the last event, zero without any; ``queries``: at every event, where causal."""
        sequence = fields.sequence(self._history.sequence)
        items = sequence[self._history.member]
        if self._sees_padding:
            encoded: Tensor = self.encoder(items, sequence.mask)
        else:
            encoded = encode_by_length(self.encoder, items, sequence.mask)
        encoded = encoded.masked_fill(~sequence.mask.unsqueeze(2), 0.0)
        last = (sequence.mask.sum(dim=1) - 1).clamp(min=0)
        query = encoded.gather(1, last.view(-1, 1, 1).expand(-1, 1, encoded.size(2))).squeeze(1)
        return Output(query=query, queries=encoded if self._causal and self.training else None)
