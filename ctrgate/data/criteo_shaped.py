"""Generated rows in the shape of Criteo's: 13 integers and 26 hexadecimal strings, with a known click probability."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from ctrgate.config import settings
from ctrgate.data.synthetic import BLOCK, write_rows, zipf
from ctrgate.files import atomic_folder
from ctrgate.ranges import Count

__all__ = ["CriteoShapedConfig", "write"]

Unsigned = NDArray[np.uint64]

# Possible values by field: a few wide ones and many narrow ones, as in the challenge's data.
_SIZES = (
    *(1_450, 570, 600_000, 260_000, 305, 24, 12_500, 630, 3, 93_000, 5_700, 500_000, 3_200),
    *(27, 15_000, 380_000, 10, 5_600, 2_170, 4, 450_000, 18, 15, 105_000, 105, 72_000),
)
_SKEW = 1.27
# Chance that a field is missing: of the integers, then of the categories that miss values at all.
_MISSING_INTEGERS = (0.45, 0, 0.22, 0.22, 0.03, 0.22, 0.04, 0.0005, 0.04, 0.45, 0.04, 0.77, 0.22)
_MISSING_CATEGORIES = {3: 0.03, 4: 0.03, 6: 0.12, 12: 0.03, 16: 0.03, 19: 0.44, 20: 0.44, 21: 0.03, 22: 0.76, 25: 0.44}
_GATE = "C9"  # three values; each switches half of the other categories off
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


@settings
class CriteoShapedConfig:
    """How many rows, of which values and which of their rows."""

    num_rows: Count = 1_000_000
    rows_per_file: Count = 1_000_000
    seed: int = Field(default=0, ge=0)
    """Decides the values' names and what each does to the click probability."""
    draw: int = Field(default=0, ge=0)
    """Other rows of the same values; a wide field's rarer values differ from draw to draw."""


def write(config: CriteoShapedConfig, folder: str | Path) -> None:
    """Write ``part-NNNNN.parquet`` with the columns ``label``, ``I1`` to ``I13``, ``C1`` to ``C26``, and the truth.

    About 400,000 distinct categories at a million rows. The truth ``click_probability`` is the sigmoid of a bias, small
    effects of all categories that the row's value of C9 leaves switched on, and of ``log(1 + I)`` of three integers.
    """
    with atomic_folder(folder) as temporary:
        write_rows(_blocks(config), temporary, num_rows=config.num_rows, rows_per_file=config.rows_per_file)


def _blocks(config: CriteoShapedConfig) -> Iterator[pa.Table]:
    for first in range(0, config.num_rows, BLOCK):
        random = np.random.default_rng([config.seed, first // BLOCK, *([config.draw] if config.draw else [])])
        logits = np.full(BLOCK, -1.2)
        columns: dict[str, pa.Array] = {}
        for number, share in enumerate(_MISSING_INTEGERS, start=1):
            scale = 1.0 + number % 4
            drawn = np.floor(np.exp(scale * np.abs(random.standard_normal(BLOCK))) - 1).astype(np.int64)
            missing = random.random(BLOCK) < share
            columns[f"I{number}"] = pa.array(drawn - (number == 2), mask=missing)
            if number <= 3:
                logits += np.where(missing, 0.0, 0.2 * (np.log1p(drawn) - scale * 0.6))
        keys = {
            f"C{number}": _mixed(zipf(random.random(BLOCK), size=size, skew=_SKEW), field=number, seed=config.seed)
            for number, size in enumerate(_SIZES, start=1)
        }
        gate = keys[_GATE]
        for number, (name, key) in enumerate(keys.items(), start=1):
            missing = random.random(BLOCK) < _MISSING_CATEGORIES.get(number, 0.0)
            columns[name] = _hexadecimal(key, missing=missing)
            switched_on = (_mix(gate + np.uint64(number)) & np.uint64(1)) == 1
            logits += np.where(missing | ~switched_on, 0.0, 0.6 * (_uniform(key) - 0.5))
        probability = 1.0 / (1.0 + np.exp(-logits))
        label = pa.array((random.random(BLOCK) < probability).astype(np.int8))
        yield pa.table({"label": label, **columns, "click_probability": probability})


def _mixed(numbers: NDArray[np.int64], *, field: int, seed: int) -> Unsigned:
    """A 64-bit key for each value of a field; its lower 32 bits are the value's name."""
    start = _mix(np.array([seed * 64 + field], dtype=np.uint64))
    return _mix(numbers.astype(np.uint64) + start)


def _mix(numbers: Unsigned) -> Unsigned:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): one-to-one, and scatters neighbours."""
    with np.errstate(over="ignore"):
        mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _uniform(keys: Unsigned) -> NDArray[np.float64]:
    """A number in [0, 1) for each key, from bits that its name does not show."""
    uniform: NDArray[np.float64] = (keys >> np.uint64(32)).astype(np.float64) / 2.0**32
    return uniform


def _hexadecimal(keys: Unsigned, *, missing: NDArray[np.bool_]) -> pa.Array:
    """The lower 32 bits as 8 hexadecimal digits."""
    shifts = np.arange(28, -1, -4, dtype=np.uint64)
    digits = _HEX[((keys[:, None] >> shifts) & np.uint64(15)).astype(np.intp)]
    offsets = np.arange(0, 8 * len(keys) + 1, 8, dtype=np.int32)
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    buffers = [validity, pa.py_buffer(offsets.tobytes()), pa.py_buffer(digits.tobytes())]
    return pa.Array.from_buffers(pa.string(), len(keys), buffers)
