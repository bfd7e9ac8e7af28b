"""The next-item task: examples from histories, their loss, and how high the true next items are ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctrgate.contracts import Batch, Ids, Output
from ctrgate.data.reader import Order, Reader
from ctrgate.data.transfer import transfer_to
from ctrgate.features.layout import Layout
from ctrgate.layers.catalogue import target_ranks
from ctrgate.layers.jagged import bag_offsets, pad, pad_mask
from ctrgate.metrics.ranking import ranking_values
from ctrgate.models.network import NetworkConfig
from ctrgate.models.next_item import HISTORIES_AT_ONCE, Items
from ctrgate.row_ids import FIRST_VALUE_ID
from ctrgate.training.item_losses import gbce_loss, sampled_softmax_loss, softmax_loss
from ctrgate.training.model import CANDIDATES, CtrModel
from ctrgate.training.objective import GbceConfig, NextItemConfig, SampledSoftmaxConfig
from ctrgate.training.predict import outputs
from ctrgate.training.prefixes import prefixes
from ctrgate.training.workers import ALONE, Workers

__all__ = ["NextItemTask", "items_of", "ranks_of"]


def items_of(layout: Layout, config: NetworkConfig, objective: NextItemConfig) -> Items:
    """Where a run's items are found.

    Raises:
        ConfigError: Where the network reads no history, or ``objective.seen_from`` is no column of items.
    """
    return Items.of(layout, config, mask_seen=objective.seen == "mask", seen_from=objective.seen_from)


class NextItemTask:
    """Every item of a history, or one at a time, is predicted from those before it.

    Args:
        objective: How.
        items: Where the items are.
        events: Train events by row of the items' table, ``(V,)``, for a sample by popularity; None draws evenly.
        rows: The items' table where it is an ordinary parameter, for softmax over all items; ``(V, D)``.
        workers: The processes that train; each measures its slice of the rows.
    """

    larger_is_better: Mapping[str, bool] = {"ndcg": True, "hit_rate": True, "mrr": True}

    def __init__(
        self,
        objective: NextItemConfig,
        *,
        items: Items,
        events: NDArray[np.int64] | None,
        rows: Tensor | None,
        workers: Workers = ALONE,
    ) -> None:
        self._objective, self._items, self._rows, self._workers = objective, items, rows, workers
        self.shown = {"ndcg": f"NDCG@{objective.cutoffs[0]}", "hit_rate": f"HR@{objective.cutoffs[0]}"}
        chance = torch.ones(items.num_rows - FIRST_VALUE_ID, dtype=torch.float64)
        if events is not None and isinstance(objective.loss, SampledSoftmaxConfig):
            chance = torch.from_numpy(events[FIRST_VALUE_ID:]).clamp(min=1) ** objective.loss.popularity
        self._share = chance / chance.sum()

    @staticmethod
    def candidates(objective: NextItemConfig, items: Items) -> tuple[str, int] | None:
        """What ``build_model`` is to look up for the loss: the table, and the most rows for a history."""
        if not isinstance(objective.loss, SampledSoftmaxConfig | GbceConfig):
            return None
        return items.table, objective.loss.negatives + (items.max_length if objective.positions == "all" else 1)

    def example(self, batch: Batch) -> Batch:
        if self._objective.positions == "last":
            items = self._items
            batch = prefixes(
                batch,
                columns=items.aligned,
                item=items.history,
                target=items.target,
                count=self._objective.prefixes,
            )
        return self._with_candidates(batch)

    def mass(self, batch: Batch) -> Tensor:
        targets, weights = self._targets(batch)
        return (weights.unsqueeze(1) * self._known(batch, targets)).sum().unsqueeze(0)

    def loss(self, output: Output, batch: Batch, scale: Tensor | None = None) -> Tensor:
        targets, weights = self._targets(batch)
        known = self._known(batch, targets)
        if self._objective.positions == "all":
            queries = output.queries
        else:
            queries = None if output.query is None else output.query.unsqueeze(1)
        if queries is None:
            raise ValueError("the network gives no queries for these positions")
        aux = sum(output.aux.values(), start=queries.new_zeros(()))
        factor = queries.new_ones(()) if scale is None else scale[0]
        weights = weights.unsqueeze(1).expand_as(targets)[known]
        if output.candidates is None:
            if self._rows is None:
                raise ValueError("softmax over all items needs their table")
            rows = self._rows[FIRST_VALUE_ID:]
            return aux + factor * softmax_loss(queries[known], rows, targets[known] - FIRST_VALUE_ID, weights)
        return aux + factor * self._sampled(queries.float(), output.candidates, batch, targets, known, weights)

    def measure(self, model: CtrModel, reader: Reader, *, title: str) -> dict[str, float]:
        """NDCG, hit rate and MRR at the first cutoff over all items."""
        parts = list(ranks_of(model, reader, items=self._items, title=title, workers=self._workers))
        ranks = self._workers.joined(np.concatenate(parts))
        values = ranking_values(ranks, cutoff=self._objective.cutoffs[0])
        return {name: float(values[name].mean()) for name in self.larger_is_better}

    def _known(self, batch: Batch, targets: Tensor) -> Tensor:
        """Where there is a target that train knows, ``(B, P)``."""
        return (targets >= FIRST_VALUE_ID) & pad_mask(self._lengths(batch), max_length=targets.size(1))

    def _lengths(self, batch: Batch) -> Tensor:
        """Positions to be predicted, per row."""
        lengths = batch.ids[self._items.history].lengths
        if lengths is None:
            raise ValueError(f"{self._items.history} holds one id per row, which is no history")
        return lengths if self._objective.positions == "all" else lengths.clamp(max=1)

    def _targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What follows each position ``(B, P)``, right-padded, and the rows' weights ``(B,)``."""
        target = batch.ids[self._items.target].values
        weights = torch.ones(batch.num_rows, device=target.device) if batch.weights is None else batch.weights
        if self._objective.positions == "last":
            return target.unsqueeze(1), weights
        history, lengths = batch.ids[self._items.history].values, self._lengths(batch)
        padded = pad(history.unsqueeze(1), lengths, max_length=self._items.max_length).squeeze(2)
        targets = torch.cat([padded[:, 1:], padded.new_zeros(batch.num_rows, 1)], dim=1)
        last = (lengths - 1).clamp(min=0).unsqueeze(1)
        return targets.scatter(1, last, target.unsqueeze(1)), weights

    def _with_candidates(self, batch: Batch) -> Batch:
        """For a loss with a sample: per row its sample, then the targets of its positions."""
        loss = self._objective.loss
        if not isinstance(loss, SampledSoftmaxConfig | GbceConfig):
            return batch
        shape = (batch.num_rows, loss.negatives)
        if isinstance(loss, SampledSoftmaxConfig) and loss.popularity:
            drawn = torch.multinomial(self._share, batch.num_rows * loss.negatives, replacement=True).view(shape)
        else:
            drawn = torch.randint(len(self._share), shape)
        targets, _ = self._targets(batch)
        lengths = self._lengths(batch)
        real = torch.cat([torch.ones(shape, dtype=torch.bool), pad_mask(lengths, max_length=targets.size(1))], dim=1)
        values = torch.cat([drawn + FIRST_VALUE_ID, targets], dim=1)[real]
        return replace(batch, ids={**batch.ids, CANDIDATES: Ids(values=values, lengths=lengths + loss.negatives)})

    def _sampled(
        self, queries: Tensor, candidates: Tensor, batch: Batch, targets: Tensor, known: Tensor, weights: Tensor
    ) -> Tensor:
        loss = self._objective.loss
        assert isinstance(loss, SampledSoftmaxConfig | GbceConfig)
        begins = bag_offsets(self._lengths(batch) + loss.negatives)[:-1].unsqueeze(1)
        of_row = begins + torch.arange(loss.negatives, device=begins.device)
        drawn = batch.ids[CANDIDATES].values[of_row]
        positives = (queries * candidates[:, loss.negatives :]).sum(dim=2)[known]
        negatives = torch.einsum("bpd,bkd->bpk", queries, candidates[:, : loss.negatives])
        hit = drawn.unsqueeze(1) == targets.unsqueeze(2)
        if isinstance(loss, GbceConfig):
            rate = loss.negatives / max(1, len(self._share) - 1)
            scores = negatives.masked_fill(hit, -torch.inf)[known]
            return gbce_loss(positives, scores, rate=rate, calibration=loss.calibration, weights=weights)
        log_q = (self._share * loss.negatives).log().float().to(drawn.device)
        return sampled_softmax_loss(
            positives,
            negatives.masked_fill(hit, -torch.inf)[known],
            negative_log_q=log_q[drawn - FIRST_VALUE_ID].unsqueeze(1).expand_as(negatives)[known],
            weights=weights,
        )


def ranks_of(
    model: CtrModel, reader: Reader, *, items: Items, title: str, workers: Workers = ALONE
) -> Iterator[NDArray[np.int64]]:
    """The rank of every row's next item among all items, batch by batch; 0 where it is none that train has seen.

    With several workers each gives those of its slices.
    """
    tables = {spec.name: rows[:, : spec.dim] for spec, rows in model.lookups.tables()}
    order = Order(batch_size=HISTORIES_AT_ONCE, worker=workers.rank, num_workers=workers.count)
    for batch, output in outputs(model, reader.batches(order), num_rows=reader.num_rows_of(order), title=title):
        if output.query is None:
            raise ValueError("the network gives no query")
        batch = transfer_to(output.query.device)(batch)
        ids = batch.ids[items.seen] if items.seen else None
        seen = None if ids is None or ids.lengths is None else (ids.values, ids.lengths)
        ranks = target_ranks(
            output.query, tables[items.table], batch.ids[items.target].values, first=FIRST_VALUE_ID, seen=seen
        )
        yield ranks.cpu().numpy()
