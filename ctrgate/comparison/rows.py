"""The rows that two models are compared on, and the proof that other files hold the very same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.config import load, settings
from ctrgate.errors import ConfigError, DataError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.layout import role_column
from ctrgate.features.prepared import Prepared, PrepareSettings

__all__ = ["HeldOut", "Rows", "check_same", "counted", "open_rows"]

HeldOut = Literal["valid", "test"]
_ROWS_AT_ONCE = 1 << 19
_IDENTIFYING = ("group", "key", "timestamp", "order", "weight")


@settings
class _Prepared:
    """The sections of a run's config.yaml that say which rows it was evaluated on."""

    dataset: DatasetConfig
    prepare: PrepareSettings


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A split's rows, in order.

    Args:
        prepared: Their folder.
        split: Which.
        label: The label that is compared.
    """

    prepared: Prepared
    split: HeldOut
    label: str

    @property
    def num_rows(self) -> int:
        """All of them, those without a label included."""
        return self.prepared.num_rows(self.split)

    @property
    def files(self) -> list[Path]:
        """Their encoded files."""
        return self.prepared.files(self.split)

    @property
    def label_column(self) -> str:
        """The label's encoded column."""
        return role_column("label", self.label)

    @property
    def identifying(self) -> list[str]:
        """The encoded columns by which rows are told to be the same: the label, then users, keys, times, weights."""
        roles = self.prepared.layout.roles
        named = [column for role in _IDENTIFYING for column in roles.get(role, ())]  # type: ignore[call-overload]
        return list(dict.fromkeys([self.label_column, *named]))

    def role(self, role: Literal["group", "weight"]) -> NDArray[Any] | None:
        """The values of a role, ``(n,)``; None where the dataset has none."""
        columns = self.prepared.layout.roles.get(role, ())
        return self.column(columns[0]) if columns else None

    def column(self, name: str) -> NDArray[Any]:
        """One encoded column, ``(n,)``, read file by file."""
        parts = [pl.read_parquet(path, columns=[name]).to_series().to_numpy() for path in self.files]
        return np.concatenate(parts)


def open_rows(run: Path, *, split: HeldOut, label: str) -> Rows:
    """The rows of a split of a run's prepared folder.

    Args:
        run: The folder of a run.
        split: Which.
        label: The label to compare; empty for the first.

    Raises:
        ConfigError: No such run, split or label.
    """
    config = run / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{run} holds no run; run ctrgate train with the same run file first")
    known = load(config, _Prepared)
    prepared = Prepared.open(known.prepare.folder(known.dataset), dataset=known.dataset)
    if not prepared.num_rows(split):
        raise ConfigError(
            f"{prepared.folder} has no {split} rows, it has {', '.join(prepared.manifest.splits)}; set compare.split"
        )
    labels = prepared.layout.labels
    if not labels:
        raise ConfigError(f"{prepared.folder} has no labels; compare is for clicks, and not for next items")
    if label and label not in labels:
        raise ConfigError(f"compare.label: {label} is none of the labels {', '.join(labels)}")
    return Rows(prepared=prepared, split=split, label=label or labels[0])


def counted(rows: Rows) -> NDArray[np.bool_]:
    """Which rows are compared, ``(n,)``: those with a label and a weight above 0.

    Raises:
        DataError: Where none is.
    """
    found: NDArray[np.bool_] = ~np.isnan(rows.column(rows.label_column))
    weights = rows.role("weight")
    if weights is not None:
        found &= weights > 0
    if not found.any():
        raise DataError(f"no {rows.split} row of {rows.prepared.folder} has the label {rows.label} and a weight")
    return found


def check_same(rows: Rows, files: Sequence[Path], *, columns: Mapping[str, str], remedy: str) -> None:
    """See that files hold the same rows in the same order, as far as columns that both have can tell.

    A stretch of rows at a time; values are compared as the rows' own types.

    Args:
        rows: What is compared.
        files: Parquet files, one after the other.
        columns: For an encoded column of the rows, its name in the files.
        remedy: What to do, for the message.

    Raises:
        DataError: Naming the first row and column that differ.
    """
    mine, theirs = pl.scan_parquet(rows.files), pl.scan_parquet(list(files))
    where = _shown(files)
    found = theirs.select(pl.len()).collect().item()
    if found != rows.num_rows:
        raise DataError(f"{where} has {found:,} rows, {_place(rows)} {rows.num_rows:,}; {remedy}")
    schema = mine.select(list(columns)).collect_schema()
    for start in range(0, rows.num_rows, _ROWS_AT_ONCE):
        ours = mine.select(list(columns)).slice(start, _ROWS_AT_ONCE).collect()
        others = theirs.select(columns.values()).slice(start, _ROWS_AT_ONCE).collect()
        for column, name in columns.items():
            other = others[name].cast(schema[column], strict=False)
            differs = ours[column].ne_missing(other)
            if differs.any():
                row = int(differs.arg_max() or 0)
                raise DataError(
                    f"{where} holds other rows than {_place(rows)}: row {start + row} (counted from 0) has "
                    f"{name} {others[name][row]!r} there and {ours[column][row]!r} here; {remedy}"
                )


def _place(rows: Rows) -> str:
    return f"{rows.split} of {rows.prepared.folder}"


def _shown(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"
