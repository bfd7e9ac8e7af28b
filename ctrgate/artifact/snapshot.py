"""How rows looked to a model when it was exported: the spread of each encoded column and of its logits.

Rows that are scored later are counted in the same bins, so that two lists of counts tell whether they still look alike.
Valid's rows are taken rather than train's: they are not sampled, and values that train never saw are among them. Where
valid has none they are train's; ``split`` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from ctrgate.artifact.part import read_part, write_part
from ctrgate.config import settings
from ctrgate.contracts import Batch
from ctrgate.errors import ArtifactError
from ctrgate.features.encoder import Encoder
from ctrgate.features.layout import Layout
from ctrgate.features.tables import Table
from ctrgate.metrics.histogram import Counts, counts
from ctrgate.row_ids import PADDING_ID, UNKNOWN_ID

__all__ = ["SNAPSHOT", "ColumnSnapshot", "Counter", "IdBins", "NumberBins", "Snapshot"]

SNAPSHOT = "snapshot.json"
_FORMAT_VERSION = 1
_OWN_BINS, _QUANTILES = 20, 10


@settings
class IdBins:
    """A bin for each of some rows of a table, and one for all others."""

    kind: Literal["ids"] = "ids"
    ids: Annotated[tuple[int, ...], Field(max_length=_OWN_BINS)]
    """Padding, the unknown row, that of missing values where there is one, then the most frequent."""

    @property
    def size(self) -> int:
        """How many bins there are."""
        return len(self.ids) + 1


@settings
class NumberBins:
    """Bins of numbers: up to each bound, and one for what is greater than all."""

    kind: Literal["numbers"] = "numbers"
    upto: tuple[float, ...]
    """Strictly rising."""

    def __post_init__(self) -> None:
        if any(a >= b for a, b in pairwise(self.upto)):
            raise ValueError("the bounds must rise")

    @property
    def size(self) -> int:
        """How many bins there are."""
        return len(self.upto) + 1


@settings
class ColumnSnapshot:
    """One encoded column; of lists, their entries."""

    bins: Annotated[IdBins | NumberBins, Field(discriminator="kind")]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != self.bins.size:
            raise ValueError(f"{len(self.counts)} counts of {self.bins.size} bins")


@settings
class Snapshot:
    """The file ``snapshot.json``."""

    format_version: int = _FORMAT_VERSION
    split: str
    """Where the rows are from."""
    rows: int
    """How many they are."""
    columns: Mapping[str, ColumnSnapshot]
    """By encoded column; ``NAME:length`` is the length of a bag or of a group of histories. What is constant when
    scoring is left out."""
    logits: Counts
    """By label, in the bins of ``metrics.histogram``; none for a network that ranks items."""

    @classmethod
    def of(
        cls,
        batches: Iterable[Batch],
        *,
        split: str,
        encoder: Encoder,
        layout: Layout,
        logits: Mapping[str, NDArray[np.float32]],
    ) -> Snapshot:
        """That of some encoded rows, which are held in memory.

        Args:
            batches: The rows.
            split: Where they are from.
            encoder: Which has encoded them.
            layout: Of that encoder.
            logits: The model's, by label.
        """
        rows, parts = 0, dict[str, list[NDArray[Any]]]()
        constant = {feature.name for feature in encoder.features if not feature.columns_read(scoring=True)}
        for batch in batches:
            rows += batch.num_rows
            for name, values in _columns(batch, layout):
                if name.removesuffix(":missing") not in constant:
                    parts.setdefault(name, []).append(values)
        columns = {name: np.concatenate(of) for name, of in parts.items()}
        tables = layout.id_tables()
        bins = {
            name: _id_bins(values, missing=_missing(encoder.tables[tables[name]]))
            if name in tables
            else _number_bins(values)
            for name, values in columns.items()
        }
        counter = Counter(bins, layout=layout)
        counted = {name: tuple(counter.column(name, values)) for name, values in columns.items()}
        return cls(
            split=split,
            rows=rows,
            columns={name: ColumnSnapshot(bins=bins[name], counts=of) for name, of in counted.items()},
            logits={label: counts(of) for label, of in logits.items()},
        )

    def write(self, folder: Path) -> None:
        """Write it into an artifact's folder."""
        write_part(folder / SNAPSHOT, self)

    @classmethod
    def read(cls, folder: Path, *, layout: Layout) -> Snapshot:
        """Read that of an artifact.

        Raises:
            ArtifactError: Where it is damaged, of another format, or of other columns.
        """
        path = folder / SNAPSHOT
        found = read_part(path, cls, version=_FORMAT_VERSION)
        tables = layout.id_tables()
        for name, column in found.columns.items():
            num_rows = layout.tables[tables[name]] if name in tables else 0
            if isinstance(column.bins, IdBins) and not all(0 <= row < num_rows for row in column.bins.ids):
                raise ArtifactError(f"{path} has bins of rows that {name} does not have; export the run again")
        return found


class Counter:
    """Counts rows in the bins of a snapshot.

    Args:
        bins: By encoded column.
        layout: The encoded columns.
    """

    def __init__(self, bins: Mapping[str, IdBins | NumberBins], *, layout: Layout) -> None:
        self._bins, self._layout, self._places = dict(bins), layout, dict[str, NDArray[np.uint8]]()
        for name, of in bins.items():
            if isinstance(of, IdBins):
                places = np.full(layout.tables[layout.id_tables()[name]], len(of.ids), dtype=np.uint8)
                places[list(of.ids)] = np.arange(len(of.ids))
                self._places[name] = places

    def __call__(self, batch: Batch) -> dict[str, list[int]]:
        """By column, the entries of a batch in each bin."""
        return {name: self.column(name, values) for name, values in _columns(batch, self._layout) if name in self._bins}

    def column(self, name: str, values: NDArray[Any]) -> list[int]:
        """The values of one column in each bin."""
        bins = self._bins[name]
        places = self._places[name][values] if isinstance(bins, IdBins) else np.searchsorted(bins.upto, values)
        found: list[int] = np.bincount(places, minlength=bins.size).tolist()
        return found


def _columns(batch: Batch, layout: Layout) -> Iterator[tuple[str, NDArray[Any]]]:
    """What is counted of a batch, by name."""
    groups = {member.column: group.name for group in layout.sequences for member in group.members}
    told = set()
    for name, ids in batch.ids.items():
        yield name, ids.values.numpy()
        if ids.lengths is not None and (of := groups.get(name, name)) not in told:
            told.add(of)
            yield f"{of}:length", ids.lengths.numpy()
    for place, name in enumerate(layout.numbers):
        yield name, batch.numbers[:, place].numpy()
    for name, values in batch.sequence_numbers.items():
        yield name, values.numpy()


def _id_bins(ids: NDArray[np.int64], *, missing: int) -> IdBins:
    found, often = np.unique(ids, return_counts=True)
    frequent = found[np.lexsort((found, -often))].tolist()
    return IdBins(ids=tuple(dict.fromkeys([PADDING_ID, UNKNOWN_ID, missing, *frequent]))[:_OWN_BINS])


def _number_bins(values: NDArray[Any]) -> NumberBins:
    """About as many values in each bin; a value that fills one by itself has one to itself."""
    if not len(values):
        return NumberBins(upto=())
    kept = values.astype(np.float32)
    bounds = np.quantile(kept, np.arange(1, _QUANTILES) / _QUANTILES, method="inverted_cdf")
    often = bounds[1:][np.diff(bounds) == 0]
    return NumberBins(upto=tuple(np.unique([*bounds, *np.nextafter(often, np.float32(-np.inf))]).tolist()))


def _missing(table: Table) -> int:
    """The row that a missing value reads where it has one of its own, else the unknown one."""
    row: int = pl.select(table.ids(pl.lit(None, dtype=pl.String), missing="value")).item()
    return row
