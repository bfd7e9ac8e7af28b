"""Leave out what feature selection dropped: rows of tables, whole tables, and the ids that named them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctrgate.contracts import Batch, Lookup
from ctrgate.features.encoder import Encoder
from ctrgate.features.layout import Layout
from ctrgate.features.vocabulary import Vocabulary
from ctrgate.row_ids import FIRST_VALUE_ID, PADDING_ID

__all__ = ["Shrunk", "shrink"]


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """A model's encoder and tables without dropped values.

    Args:
        encoder: Dropped values read padding.
        layout: With the smaller tables.
        rows: By table ``(V', D)``, what the gates make of the rows included. Tables without a row that is not zero are
            left out.
        moved: By column of ids, for each old id the new one ``(V,)``.
    """

    encoder: Encoder
    layout: Layout
    rows: Mapping[str, Tensor]
    moved: Mapping[str, Tensor]

    def batch(self, batch: Batch) -> Batch:
        """Rows that the old encoder encoded, as the new one would have."""
        ids = {column: replace(of, values=self.moved[column][of.values]) for column, of in batch.ids.items()}
        return replace(batch, ids=ids)


def shrink(
    encoder: Encoder,
    layout: Layout,
    *,
    rows: Mapping[str, Tensor],
    lookups: Sequence[Lookup],
    factors: Mapping[str, Tensor],
) -> Shrunk:
    """Multiply every row by its factor, and leave out the rows whose factor is zero.

    Only rows of vocabularies can be left out: a hash or an identity has a place for every value, and its dropped rows
    become zeros. The unknown row stays, dropped ones as zeros.

    Args:
        encoder: What the model was trained with.
        layout: Of that encoder.
        rows: By table ``(V, D)``.
        lookups: Which tell the vocabulary that each table belongs to, by their columns.
        factors: By vocabulary ``(V,)``, zero for what is dropped.
    """
    read = layout.id_tables()
    vocabulary_of = {lookup.table: read[lookup.column] for lookup in lookups}
    dropped = {
        name: [row for row in (of == 0).nonzero().flatten().tolist() if row >= FIRST_VALUE_ID]
        for name, of in factors.items()
        if isinstance(encoder.tables[name], Vocabulary)
    }
    smaller, old_rows = encoder.compact(dropped=dropped)
    kept = {name: torch.from_numpy(of) for name, of in old_rows.items()}
    gated = {
        table: of * factors[vocabulary_of[table]].unsqueeze(1) if vocabulary_of[table] in factors else of
        for table, of in rows.items()
    }
    left = {
        table: of[kept[vocabulary_of[table]]] if vocabulary_of[table] in kept else of for table, of in gated.items()
    }
    moved = {}
    for column, name in read.items():
        num_rows = layout.tables[name]
        moved[column] = torch.arange(num_rows)
        if name in kept:
            moved[column] = torch.full((num_rows,), PADDING_ID)
            moved[column][kept[name]] = torch.arange(len(kept[name]))
    return Shrunk(
        encoder=smaller,
        layout=replace(layout, tables=smaller.layout_parts()[2]),
        rows={table: of for table, of in left.items() if of.any()},
        moved=moved,
    )
