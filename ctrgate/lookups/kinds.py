"""The ways in which a table can be spread over processes, as settings name them."""

from __future__ import annotations

from typing import Literal

__all__ = ["EXACT_KINDS", "ShardingKind"]

ShardingKind = Literal["table_wise", "row_wise", "column_wise", "table_row_wise", "table_column_wise"]

EXACT_KINDS: tuple[ShardingKind, ...] = ("table_wise", "row_wise", "table_row_wise")
"""Those under which row-wise Adagrad is the same as in one process: no row is cut. Where columns are cut, each block of
columns has a step of its own."""
