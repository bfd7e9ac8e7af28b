"""Generated clicks with planted gates: any number of rows, and the best log loss and AUC are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from ctrgate.config import settings
from ctrgate.data.planted import Floats, Ints, Planted
from ctrgate.files import atomic_folder, write_json
from ctrgate.progress import bar
from ctrgate.ranges import Count, NotNegative, Share

__all__ = ["BLOCK", "DEVICES", "SLOTS", "SyntheticConfig", "blocks", "plant", "write", "write_rows", "zipf"]

BLOCK = 65_536
"""Rows drawn at a time; every block has random numbers of its own, so the size of files changes no row."""
DEVICES = ("phone", "tablet", "desktop", "tv")
SLOTS = ("night", "morning", "afternoon", "evening")
_START = 1_735_689_600  # 2025-01-01 00:00 UTC


@settings
class SyntheticConfig:
    """How many rows of what; ``ctrgate.data.planted.Planted`` has the formula of a click."""

    num_rows: Count = 100_000
    rows_per_file: Count = 1_000_000
    seed: int = 0
    num_users: Count = 200
    num_items: Count = 60
    num_categories: Count = 20
    num_tags: Annotated[int, Field(ge=0)] = 2
    """Signal fields that the time of day switches on and off."""
    num_noise_fields: Annotated[int, Field(ge=0)] = 2
    num_values: Count = 50
    """Distinct values of each tag and each field of noise."""
    noise_share: Share = 0.2
    """Share of values without effect in every signal field."""
    missing_share: Share = 0.1
    """Share of prices and ages that are missing."""
    skew: Share = 0.8
    """Value number r comes with frequency ``r ** -skew``."""
    num_days: Count = 7
    max_history: Count = 20
    """Items of a user's history: the last ones of strictly earlier seconds."""
    num_factors: Count = 3
    """K, the interests that users and items have and that a device switches on and off."""
    num_types: Count = 6
    """Users of one type have the same interests."""
    loyalty: Share = 0.3
    """Share of rows that show an item of an interest the user has."""
    bias: float = -1.2
    effect: NotNegative = 0.5
    """Mean size of a signal value's effect; sizes lie between half of it and three halves."""
    affinity: NotNegative = 2.0
    """Size of the gated match between user and item."""


def write(config: SyntheticConfig, folder: str | Path) -> Planted:
    """Write ``rows/part-NNNNN.parquet`` and ``planted/``; memory holds a block of rows, and a history per user.

    The columns are ``row`` (0, 1, ...), ``timestamp`` (seconds, not falling), ``user``, ``item``, ``category``,
    ``device``, ``slot`` (of the timestamp's hour), ``tag_1`` ..., ``noise_1`` ..., ``price``, ``age``,
    ``noise_number``, ``history`` (items, the oldest first), the labels ``click`` and ``buy``, and the truth
    ``click_probability`` and ``buy_probability``.
    """
    planted = plant(config)
    with atomic_folder(folder) as temporary:
        planted.save(temporary / "planted")
        write_json(temporary / "planted" / "config.json", dict(vars(config)))
        tables = blocks(config, planted=planted)
        write_rows(tables, temporary / "rows", num_rows=config.num_rows, rows_per_file=config.rows_per_file)
    return planted


def write_rows(tables: Iterator[pa.Table], folder: Path, *, num_rows: int, rows_per_file: int) -> None:
    """Write the first ``num_rows`` rows of some tables into files of ``rows_per_file`` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    writer: pq.ParquetWriter | None = None
    with bar("generating", total=num_rows) as progress:
        for table in tables:
            table = table.slice(0, num_rows - done)
            while table.num_rows:
                if writer is None:
                    path = folder / f"part-{done // rows_per_file:05}.parquet"
                    writer = pq.ParquetWriter(path, table.schema, compression="zstd")
                piece = table.slice(0, rows_per_file - done % rows_per_file)
                writer.write_table(piece)
                done += piece.num_rows
                progress.advance(piece.num_rows)
                table = table.slice(piece.num_rows)
                if done % rows_per_file == 0 or done == num_rows:
                    writer.close()
                    writer = None


def plant(config: SyntheticConfig) -> Planted:
    """Draw the truth, which depends on the settings but neither on the number of rows nor on that of files."""
    random = np.random.default_rng([config.seed, 0])
    sizes = {"user": config.num_users, "item": config.num_items, "category": config.num_categories}
    sizes |= {f"tag_{number + 1}": config.num_values for number in range(config.num_tags)}
    effects = {name: _effects(size, config=config, random=random) for name, size in sizes.items()}
    effects |= {f"noise_{number + 1}": np.zeros(config.num_values) for number in range(config.num_noise_fields)}
    types = random.choice([-1.0, 1.0], size=(config.num_types, config.num_factors))
    taste = types[random.integers(config.num_types, size=config.num_users)]
    appeal = np.eye(config.num_factors)[np.arange(config.num_items) % config.num_factors]
    return Planted(
        bias=config.bias,
        affinity=config.affinity,
        price_slope=-0.4,
        age_slope=0.3,
        effects=effects,
        taste=taste * (effects["user"] != 0)[:, None],
        appeal=appeal * (effects["item"] != 0)[:, None],
        item_category=random.integers(config.num_categories, size=config.num_items),
        device_gates=_half_open(len(DEVICES), config.num_factors, random=random),
        slot_gates=_half_open(len(SLOTS), config.num_tags, random=random),
        price_gates=_half_open(len(DEVICES), 1, random=random)[:, 0],
    )


def zipf(uniform: Floats, *, size: int, skew: float) -> Ints:
    """Numbers in ``[0, size)`` from uniform ones in [0, 1), number r with a frequency of about ``(r + 1) ** -skew``.

    The whole part of a variable with density ``x ** -skew`` on ``[1, size + 1)``, by its inverse distribution.
    """
    power = 1.0 - skew
    drawn = (1.0 + uniform * ((size + 1.0) ** power - 1.0)) ** (1.0 / power)
    numbers: Ints = np.minimum(drawn.astype(np.int64) - 1, size - 1)
    return numbers


def blocks(config: SyntheticConfig, *, planted: Planted) -> Iterator[pa.Table]:
    """The rows in blocks of ``BLOCK``, the last one whole too."""
    past = _Past.empty()
    for first in range(0, config.num_rows, BLOCK):
        random = np.random.default_rng([config.seed, 1, first // BLOCK])
        row = np.arange(first, first + BLOCK)
        timestamp = _START + row * config.num_days * 86_400 // config.num_rows
        ids = _draw(config, planted=planted, timestamp=timestamp, random=random)
        history, past = past.histories(ids["user"], ids["item"], timestamp, max_length=config.max_history)
        price = np.round(10 * np.exp(0.8 * random.standard_normal(BLOCK)), 2).clip(0.01)
        age = np.round(40 + 12 * random.standard_normal(BLOCK)).clip(16, 90)
        noise = random.standard_normal(BLOCK)
        for numbers in (price, age):
            numbers[random.random(BLOCK) < config.missing_share] = np.nan
        click = _sigmoid(planted.logits(ids, price=price, age=age))
        buy = click * _sigmoid(planted.purchase_logits(ids["item"]))
        drawn = random.random(BLOCK)  # one number decides both labels: a purchase is a click
        yield pa.table(
            {
                "row": row,
                "timestamp": timestamp,
                **{name: _raw(name, values) for name, values in ids.items()},
                "price": pa.array(price, from_pandas=True),
                "age": pa.array(age, from_pandas=True),
                "noise_number": noise,
                "history": history,
                "click": (drawn < click).astype(np.int8),
                "buy": (drawn < buy).astype(np.int8),
                "click_probability": click,
                "buy_probability": buy,
            }
        )


def _draw(
    config: SyntheticConfig, *, planted: Planted, timestamp: Ints, random: np.random.Generator
) -> dict[str, Ints]:
    """The number of each field's value for a block of rows."""
    user = zipf(random.random(BLOCK), size=config.num_users, skew=config.skew)
    item = zipf(random.random(BLOCK), size=config.num_items, skew=config.skew)
    # A loyal row shows the item of one of the user's interests that is about as frequent (item i has interest i mod K).
    liked = planted.taste[user] + random.random((BLOCK, config.num_factors))
    wanted = item - item % config.num_factors + liked.argmax(axis=1)
    loyal = (random.random(BLOCK) < config.loyalty) & (wanted < config.num_items)
    item = np.where(loyal, wanted, item)
    ids = {"user": user, "item": item, "category": planted.item_category[item]}
    ids["device"] = random.choice(len(DEVICES), size=BLOCK, p=[0.5, 0.2, 0.2, 0.1])
    ids["slot"] = timestamp % 86_400 * len(SLOTS) // 86_400
    for name in planted.effects:
        if name.startswith(("tag_", "noise_")):
            ids[name] = zipf(random.random(BLOCK), size=config.num_values, skew=config.skew)
    return ids


def _raw(field: str, numbers: Ints) -> Any:
    """Values as a raw table has them: users and items as integers, the others as text."""
    if field in ("user", "item"):
        return numbers
    named = {"device": DEVICES, "slot": SLOTS}.get(field)
    names = named or [f"{field}={number}" for number in range(int(numbers.max()) + 1)]
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(names)).dictionary_decode()


@dataclass(frozen=True, kw_only=True)
class _Past:
    """The events that later histories can need, in the order of time."""

    user: Ints
    item: Ints
    timestamp: Ints

    @classmethod
    def empty(cls) -> _Past:
        nothing = np.zeros(0, dtype=np.int64)
        return cls(user=nothing, item=nothing, timestamp=nothing)

    def histories(self, user: Ints, item: Ints, timestamp: Ints, *, max_length: int) -> tuple[pa.Array, _Past]:
        """Each row's items of strictly earlier seconds, and what the rows after these need."""
        num_past = len(self.user)
        users = np.concatenate([self.user, user])
        items = np.concatenate([self.item, item])
        times = np.concatenate([self.timestamp, timestamp])
        order = np.argsort(users, kind="stable")  # by user, and by time within one
        start = np.searchsorted(users[order], users[order])  # where the user's events begin
        moment = _ranks(users[order], times[order])  # where those of the user's same second begin
        low = np.maximum(start, moment - max_length)
        lengths = np.empty(len(users), dtype=np.int64)
        lows = np.empty(len(users), dtype=np.int64)
        lengths[order], lows[order] = moment - low, low
        lengths, lows = lengths[num_past:], lows[num_past:]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(lows - offsets[:-1], lengths)
        history = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(items[order][places]))
        kept = np.sort(order[_needed(users[order], times[order], now=int(timestamp[-1]), max_length=max_length)])
        return history, _Past(user=users[kept], item=items[kept], timestamp=times[kept])


def _ranks(users: Ints, times: Ints) -> Ints:
    """For rows in order, the place of the first row of the same user and second."""
    first = np.ones(len(users), dtype=bool)
    first[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
    places: Ints = np.maximum.accumulate(np.where(first, np.arange(len(users)), 0))
    return places


def _needed(users: Ints, times: Ints, *, now: int, max_length: int) -> NDArray[np.bool_]:
    """Which events to keep: of each user those of the current second, and the last ones before it."""
    end = np.searchsorted(users, users, side="right")
    earlier = np.concatenate([[0], np.cumsum(times < now)])
    needed: NDArray[np.bool_] = earlier[end] - earlier[1:] < max_length
    return needed


def _effects(size: int, *, config: SyntheticConfig, random: np.random.Generator) -> Floats:
    sizes = config.effect * random.uniform(0.5, 1.5, size=size) * random.choice([-1.0, 1.0], size=size)
    return np.where(random.random(size) < config.noise_share, 0.0, sizes)


def _half_open(num_contexts: int, num_gated: int, *, random: np.random.Generator) -> Floats:
    """Gates of 0 and 1 of which each gated thing has one half open, at random."""
    gates = np.zeros((num_contexts, num_gated))
    gates[: num_contexts // 2] = 1.0
    return random.permuted(gates, axis=0)


def _sigmoid(logits: Floats) -> Floats:
    probabilities: Floats = 1.0 / (1.0 + np.exp(-logits))
    return probabilities
