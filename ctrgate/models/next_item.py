"""What networks of the next-item task share: the history they read, and the queries they give."""

from __future__ import annotations

from torch import Tensor, nn

from ctrgate.contracts import Fields, Output
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout
from ctrgate.models.inputs import History, Inputs

__all__ = ["NextItemNetwork", "item_history"]


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


class NextItemNetwork(nn.Module):
    """A history of items to queries, to be compared with rows of the items' table.

    Args:
        encoder: ``(x (B, T, D), mask (B, T)) -> (B, T, D)``, finite also for rows without any event.
        inputs: What stands below it; its history tells what is read.
        causal: Whether the encoder's value at a position depends on that position and earlier ones alone, so that every
            position can be trained at once.
    """

    def __init__(self, encoder: nn.Module, *, inputs: Inputs, causal: bool) -> None:
        super().__init__()
        (self._history,) = inputs.histories
        self._causal = causal
        self.encoder = encoder

    def forward(self, fields: Fields) -> Output:
        """``query``: the value at the last event, zero for a row without any; ``queries``: at every event, if causal."""
        sequence = fields.sequence(self._history.sequence)
        encoded: Tensor = self.encoder(sequence[self._history.member], sequence.mask)
        encoded = encoded.masked_fill(~sequence.mask.unsqueeze(2), 0.0)
        last = (sequence.mask.sum(dim=1) - 1).clamp(min=0)
        query = encoded.gather(1, last.view(-1, 1, 1).expand(-1, 1, encoded.size(2))).squeeze(1)
        return Output(query=query, queries=encoded if self._causal and self.training else None)
