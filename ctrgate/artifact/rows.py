"""Rows of tables as an artifact stores them: float32, float16, or a byte per value with a scale and an offset per row.

The tensor itself says which it is, by its type: bytes are int8 rows. Such a row is ``D`` bytes q, then its scale s and
its offset o as float32, and stands for ``s q + o``; o is the row's least value and s a 255th of its range, so that no
value moves by more than ``s / 2``. Rows of one value everywhere, padding's zeros among them, stay what they are. It is
the layout that PyTorch's own lookups of bytes read (FBGEMM's fused 8-bit row-wise format), so only rows that are looked
up are turned back to float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ctrgate.artifact.forms import RowForm
from ctrgate.errors import ArtifactError, HeldBackError

__all__ = ["form_of", "look_up", "restored", "shape_of", "store", "sums"]

_SCALE_BYTES = 8
_STEPS = 255
_ROWS_AT_ONCE = 1 << 18
_TYPES: dict[torch.dtype, RowForm] = {torch.float32: "float32", torch.float16: "float16", torch.uint8: "int8"}


def store(rows: Tensor, form: RowForm, *, table: str) -> Tensor:
    """Rows ``(V, D)`` in a form; under ``int8``, tables of at most 8 columns take float16, which is no larger there.

    Args:
        rows: In float32.
        form: What to store them as.
        table: For messages.

    Raises:
        HeldBackError: Where a value is not finite, or too large for the form.

    Example:
        >>> stored = store(torch.tensor([[0.0] * 9, [float(n) for n in range(9)]]), "int8", table="user")
        >>> stored.dtype, stored.shape
        (torch.uint8, torch.Size([2, 17]))
        >>> (restored(stored)[1] - torch.arange(9)).abs().max() <= 8 / 255 / 2
        tensor(True)
    """
    _check(rows, torch.finfo(torch.float32).max, table=table, remedy="look at the run's loss")
    if form == "float32":
        return rows
    if form == "float16" or rows.size(1) <= _SCALE_BYTES:
        _check(rows, torch.finfo(torch.float16).max, table=table, remedy="export with export.rows=float32")
        return rows.to(torch.float16)
    return torch.cat([_bytes(rows[start : start + _ROWS_AT_ONCE]) for start in range(0, len(rows), _ROWS_AT_ONCE)])


def restored(stored: Tensor) -> Tensor:
    """A whole table in float32, ``(V, D)``."""
    if stored.dtype == torch.uint8:
        whole: Tensor = torch.ops.quantized.embedding_bag_byte_unpack(stored)
        return whole
    return stored.float()


def look_up(stored: Tensor, ids: Tensor) -> Tensor:
    """The rows of some ids, ``(n, D)`` in float32.

    Raises:
        IndexError, RuntimeError: Where the table has no such row.
    """
    if stored.dtype == torch.uint8:
        return _byte_sums(stored, ids, torch.arange(len(ids) + 1), None)
    return functional.embedding(ids, stored).float()


def sums(stored: Tensor, ids: Tensor, offsets: Tensor, *, weights: Tensor | None) -> Tensor:
    """The sums over bags of ids, ``(B, D)`` in float32.

    Args:
        stored: The table.
        ids: Of all bags, one after the other.
        offsets: Where each begins, with the end of the last, ``(B + 1,)``.
        weights: By which rows are multiplied, ``(n,)``; None for ones.
    """
    if stored.dtype == torch.uint8:
        return _byte_sums(stored, ids, offsets, weights)
    if stored.dtype == torch.float16:  # summed in float32
        stored, ids = look_up(stored, ids), torch.arange(len(ids))
    return functional.embedding_bag(
        ids, stored, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def form_of(stored: Tensor) -> RowForm:
    """How rows are stored.

    Raises:
        ArtifactError: Where it is none of the forms.
    """
    if stored.dtype not in _TYPES:
        raise ArtifactError(f"rows of {stored.dtype} are of no form that this version knows; export the run again")
    return _TYPES[stored.dtype]


def shape_of(stored: Tensor) -> tuple[int, ...]:
    """``(V, D)`` of rows as they are looked up."""
    *rest, width = stored.shape
    return (*rest, width - _SCALE_BYTES if stored.dtype == torch.uint8 else width)


def _bytes(rows: Tensor) -> Tensor:
    least, most = rows.double().aminmax(dim=1, keepdim=True)
    scales, offsets = ((most - least) / _STEPS).float(), least.float()
    # A range too small for float32 has the scale 0, and all bytes 0.
    steps = (rows - least) / torch.where(scales > 0, scales, torch.inf).double()
    ends = torch.cat([scales, offsets], dim=1).view(torch.uint8)
    return torch.cat([steps.round().clamp(0, _STEPS).to(torch.uint8), ends], dim=1)


def _byte_sums(stored: Tensor, ids: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
        stored, ids, offsets, per_sample_weights=weights, include_last_offset=True
    )
    return found


def _check(rows: Tensor, largest: float, *, table: str, remedy: str) -> None:
    fine = (rows.abs() <= largest).all(dim=1)  # NaN is not
    if not fine.all():
        row = int((~fine).nonzero()[0])
        value = float(rows[row][~(rows[row].abs() <= largest)][0])
        raise HeldBackError(f"table {table}, row {row} holds {value:g}, where at most {largest:g} can be; {remedy}")
