"""The next-item task from raw rows on: it learns a planted rule, resumes, and ranks as a loop over all items does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ctrgate import evaluate, prepare, train
from ctrgate.config import load
from ctrgate.data.reader import Order, Reader
from ctrgate.errors import ConfigError
from ctrgate.metrics.ranking import ranking_summary
from ctrgate.training.runs import restore
from tests.training.test_train import Stop, killed_after, state

NUM_ITEMS, MAX_LENGTH = 10, 5
NEXT = [3, 7, 0, 9, 1, 8, 2, 5, 6, 4]
"""What follows each item."""
DATASET = {
    "name": "steps",
    "roles": {"group": "user", "segments": ["half"]},
    "features": [
        {"kind": "categorical", "name": "item"},
        {"kind": "categorical", "name": "user"},
        {"kind": "bag", "name": "bought", "share": "item"},
        {"kind": "bag", "name": "words"},
        {
            "kind": "sequence",
            "name": "history",
            "max_length": MAX_LENGTH,
            "members": [
                {"kind": "categorical", "name": "item", "column": "past", "share": "item"},
                {"kind": "categorical", "name": "word", "column": "past_words", "share": "words"},
            ],
        },
    ],
}
MODELS = {
    "sasrec": {"name": "sasrec", "num_layers": 1, "dropout": 0.1, "max_length": MAX_LENGTH},
    "mamba4rec": {"name": "mamba4rec", "state_dim": 4, "dropout": 0.1},
    "sigma": {"name": "sigma", "state_dim": 4, "num_kept": 2, "dropout": 0.1},
    "final_mlp": {"name": "final_mlp", "mlp1": {"hidden": [4]}, "mlp2": {"hidden": [4]}},
}
LOSSES = {
    "softmax": {"name": "softmax"},
    "sampled_softmax": {"name": "sampled_softmax", "negatives": 6},
    "popularity": {"name": "sampled_softmax", "negatives": 6, "popularity": 0.7},
    "gbce": {"name": "gbce", "negatives": 6},
}
RULES = {"dense": {"name": "dense"}, "fused": {"name": "fused", "learning_rate": 0.1}}


def rows(number: int, *, seed: int) -> pl.DataFrame:
    """Histories of 0 to 7 items, each mostly the one that follows the item before it, and the item that follows last.

    Chance steps go anywhere, so items are repeated, and only the last one tells the next.
    """
    random = np.random.default_rng(seed)
    lines = []
    for row in range(number):
        past = [int(random.integers(NUM_ITEMS))]
        for _ in range(row % 8):
            past.append(NEXT[past[-1]] if random.random() < 0.7 else int(random.integers(NUM_ITEMS)))
        *past, target = [*past, NEXT[past[-1]]][-(row % 8) - 1 :]
        bought = random.integers(NUM_ITEMS, size=row % 4).tolist()
        lines.append({"user": row // 3, "half": row % 2, "item": target, "past": past, "bought": bought})
    words = pl.col("past").list.eval(pl.element() % 3)
    return pl.DataFrame(lines, schema_overrides={"past": pl.List(pl.Int64), "bought": pl.List(pl.Int64)}).with_columns(
        words=words, past_words=words
    )


def run_file(folder: Path, path: Path, sections: dict[str, Any]) -> Path:
    """Write a run file for the rows in a folder; sections replace those given here."""
    path.parent.mkdir(exist_ok=True)
    splits = {split: str(folder / f"{split}.parquet") for split in ("train", "valid", "test")}
    values = {
        "name": "steps",
        "seed": 3,
        "runs": str(path.parent / "runs"),
        "dataset": {**DATASET, "splits": splits},
        "prepare": {"into": str(folder / "prepared")},
        "tables": {"dim": 8, "init_std": 0.3, "rule": RULES["dense"]},
        "model": MODELS["sasrec"],
        "objective": {"name": "next_item", "cutoffs": [1, 3]},
        "train": {"batch_size": 32, "learning_rate": 0.03, "epochs": 12, "strikes": 12, "learning_rate_factor": 1.0},
        "tracking": {"enabled": False},
    }
    path.write_text(yaml.safe_dump({**values, **sections}))
    return path


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw files, prepared once; test has items that train has not."""
    folder = tmp_path_factory.mktemp("steps")
    for seed, (split, number) in enumerate({"train": 320, "valid": 60, "test": 80}.items()):
        parts = rows(number, seed=seed)
        if split == "test":
            strange = pl.Series(range(number)) % 10 == 4
            parts = parts.with_columns(pl.when(strange).then(99).otherwise("item").alias("item"))
        parts.write_parquet(folder / f"{split}.parquet")
    prepare.run(load(run_file(folder, folder / "prepare.yaml", {}), prepare.Config))
    return folder


@pytest.fixture(scope="session")
def learned(steps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a run that knows the rule."""
    path = run_file(steps, tmp_path_factory.mktemp("learned") / "run.yaml", {"objective": objective()})
    trained(path, "train.epochs=6")
    return path


@pytest.fixture
def write_run(steps: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a run file whose run lies in this test's own folder."""

    def write(*, under: str = "one", **sections: Any) -> Path:
        return run_file(steps, tmp_path / under / "run.yaml", sections)

    return write


def objective(**settings: Any) -> dict[str, Any]:
    return {"name": "next_item", "cutoffs": [1, 3], **settings}


def trained(path: Path, *overrides: str) -> dict[str, Any]:
    return train.run(load(path, train.Config, overrides))


def evaluated(path: Path, *overrides: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The file of ranked test rows, and that of their metrics."""
    evaluate.run(load(path, evaluate.Config, overrides))
    folder = load(path, train.Config).folder.path / "evaluation"
    return pl.read_parquet(folder / "test.parquet"), json.loads((folder / "test.json").read_text())


def naive_ranks(path: Path, *, seen: str | None = None) -> list[int]:
    """The rank of each test row's item: the row alone through the network, and every item's row of the checkpoint."""
    folder = load(path, train.Config).folder
    restored = restore(folder)
    saved = load_file(folder.checkpoints.find("best") / "tables-0.safetensors")
    (table,) = (rows.double().numpy() for name, rows in saved.items() if name.startswith("item") and rows.dim() == 2)
    encoded = pl.concat([pl.read_parquet(file) for file in restored.prepared.files("test")])
    reader = Reader(restored.prepared.files("test"), layout=restored.layout)
    found = []
    for line, batch in zip(encoded.iter_rows(named=True), reader.batches(Order(batch_size=1)), strict=True):
        with torch.no_grad():
            query = restored.model(batch)[0].query[0].double().numpy()
        left_out = set(line[seen]) if seen else set()
        scores = {row: float(table[row] @ query) for row in range(2, len(table)) if row not in left_out}
        own = scores.get(line["item"])
        found.append(0 if own is None else sum(score >= own for score in scores.values()))
    return found


def metrics_of(ranks: Sequence[int], cutoff: int) -> dict[str, float]:
    hits = [rank for rank in ranks if 1 <= rank <= cutoff]
    return {
        f"hit_rate@{cutoff}": len(hits) / len(ranks),
        f"ndcg@{cutoff}": sum(1 / math.log2(rank + 1) for rank in hits) / len(ranks),
        f"mrr@{cutoff}": sum(1 / rank for rank in hits) / len(ranks),
    }


CASES = [
    ("sasrec", "all", "softmax", "dense", 4),
    ("sasrec", "all", "sampled_softmax", "dense", 4),
    ("sasrec", "all", "gbce", "dense", 8),
    ("sasrec", "all", "popularity", "fused", 4),
    ("sasrec", "all", "gbce", "fused", 8),
    ("sasrec", "last", "softmax", "dense", 5),
    ("mamba4rec", "last", "sampled_softmax", "fused", 3),
    ("sigma", "last", "popularity", "dense", 3),
    ("sigma", "last", "gbce", "fused", 4),
]


@pytest.mark.parametrize(("model", "positions", "loss", "rule", "epochs"), CASES)
def test_a_run_learns_what_follows_the_last_item(
    write_run: Callable[..., Path], model: str, positions: str, loss: str, rule: str, epochs: int
) -> None:
    path = write_run(
        model=MODELS[model],
        objective=objective(positions=positions, loss=LOSSES[loss]),
        tables={"dim": 10, "init_std": 0.3, "rule": RULES[rule]},  # stored as 12 under the fused rule
    )
    # a row in eight has no history, and all its items score alike
    assert trained(path, f"train.epochs={epochs}")["valid"]["hit_rate"] > 0.95 * 7 / 8


@pytest.mark.parametrize("model", ["sasrec", "mamba4rec", "sigma"])
def test_a_model_at_its_start_knows_nothing(write_run: Callable[..., Path], model: str) -> None:
    path = write_run(
        model=MODELS[model],
        objective=objective(positions="last", prefixes=1),
        train={"batch_size": 320, "learning_rate": 1e-9, "epochs": 1},
    )
    assert trained(path)["valid"]["hit_rate"] < 0.4


def test_a_run_ranks_its_test_rows_as_a_loop_over_the_checkpoints_items_does(learned: Path) -> None:
    ranked, measured = evaluated(learned)
    ranks = naive_ranks(learned)
    assert ranked["rank"].to_list() == ranks
    expected = metrics_of(ranks, 1) | metrics_of(ranks, 3)
    assert {name: of["value"] for name, of in measured["ranking"].items()} == pytest.approx(expected)
    assert all(of["low"] <= of["value"] <= of["high"] for of in measured["ranking"].values())
    assert (measured["num_rows"], measured["num_candidates"], measured["seen"]) == (80, NUM_ITEMS, "kept")


def test_targets_that_train_has_not_are_counted_and_miss(learned: Path) -> None:
    ranked, measured = evaluated(learned)
    unknown = ranked["target"] < 2
    assert unknown.to_list() == [row % 10 == 4 for row in range(80)]
    assert set(ranked["rank"].filter(unknown)) == {0}
    assert (measured["unknown_targets"], measured["seen_targets"]) == (8, 0)
    assert ranked["rank"].filter(~unknown).min() == 1
    assert measured["ranking"]["hit_rate@1"]["value"] <= 72 / 80


def test_the_last_item_tells_the_next_whatever_length_and_repetitions(learned: Path) -> None:
    """Shorter than the padded length, as long, and cut to it."""
    ranked, _ = evaluated(learned)
    raw = rows(80, seed=2).with_columns(rank=ranked["rank"], known=ranked["target"] >= 2).filter("known")
    for length in range(1, 8):
        part = raw.filter(pl.col("past").list.len() == length)
        assert part.height >= 8
        assert (part["rank"] == 1).mean() > 0.85, length
    repeated = raw.filter(pl.col("past").list.tail(MAX_LENGTH).list.n_unique() < pl.col("past").list.len().clip(0, 5))
    assert repeated.height > 8
    assert (repeated["rank"] == 1).mean() > 0.85


def test_a_history_without_events_ranks_its_item_last(learned: Path) -> None:
    ranked, _ = evaluated(learned)
    empty = (rows(80, seed=2)["past"].list.len() == 0) & (ranked["target"] >= 2)
    assert empty.sum() >= 8
    assert set(ranked["rank"].filter(empty)) == {NUM_ITEMS}  # all score 0 alike


def test_intervals_of_segments_resample_users_too(learned: Path) -> None:
    ranked, measured = evaluated(learned)
    assert set(measured["segments"]) == {"half", "events in history"}
    halves = measured["segments"]["half"]["lines"]
    assert sorted(line["num_rows"] for line in halves) == [40, 40]
    for line in halves:
        part = ranked.filter(pl.col("segment:half") == line["value"])
        users = part["group:user"].to_numpy()
        assert len(np.unique(users)) < part.height
        assert line["ranking"] == ranking_summary(part["rank"].to_numpy(), cutoffs=(1,), groups=users)


@pytest.mark.parametrize(
    ("settings", "column", "told"),
    [
        ({"seen": "keep"}, None, "kept"),
        ({"seen": "mask"}, "history/item", "masked, from history/item"),
        ({"seen": "mask", "seen_from": "bought"}, "bought", "masked, from bought"),
    ],
)
def test_what_was_seen_is_a_candidate_or_not_as_set(
    write_run: Callable[..., Path], settings: dict[str, str], column: str | None, told: str
) -> None:
    path = write_run(objective=objective(**settings), train={"batch_size": 64, "epochs": 1})
    trained(path)
    ranked, measured = evaluated(path)
    assert ranked["rank"].to_list() == naive_ranks(path, seen=column)
    prepared = restore(load(path, train.Config).folder).prepared
    encoded = pl.concat([pl.read_parquet(file) for file in prepared.files("test")])
    seen = [bool(column) and row["item"] in row[column] for row in encoded.iter_rows(named=True)]
    known = (encoded["item"] >= 2).to_list()
    assert measured["seen_targets"] == sum(a and b for a, b in zip(seen, known, strict=True))
    assert (measured["seen_targets"] > 0) == bool(column)
    assert (measured["unknown_targets"], measured["seen"]) == (8, told)


@pytest.mark.parametrize(("rule", "steps_done"), [("dense", 4), ("fused", 11)])
def test_a_killed_run_ends_bit_for_bit_as_an_undisturbed_one(
    write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, rule: str, steps_done: int
) -> None:
    """Prefixes, samples and dropout all draw from one generator."""
    sections = {
        "objective": objective(positions="last", prefixes=2, loss=LOSSES["popularity"]),
        "tables": {"dim": 8, "init_std": 0.3, "rule": RULES[rule], "unknown_share": 0.05, "dropout": 0.1},
        "train": {"batch_size": 48, "learning_rate": 0.01, "epochs": 2, "strikes": 9, "checkpoint_every": 3},
    }
    whole, killed = (write_run(under=name, **sections) for name in ("whole", "killed"))
    trained(whole)
    with monkeypatch.context() as patched:
        killed_after(patched, steps_done)
        with pytest.raises(Stop):
            trained(killed)
    trained(killed)
    first, second = state(whole), state(killed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    lines = [load(path, train.Config).folder.metrics() for path in (whole, killed)]
    for line in (*lines[0], *lines[1]):
        line.pop("rows_per_second")
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("model", "positions", "loss", "rule"),
    [
        ("sasrec", "all", "softmax", "dense"),
        ("sasrec", "all", "gbce", "fused"),
        ("mamba4rec", "last", "softmax", "dense"),
        ("sigma", "last", "sampled_softmax", "fused"),
    ],
)
def test_users_with_one_event_teach_nothing_and_break_nothing(
    write_run: Callable[..., Path], steps: Path, tmp_path: Path, model: str, positions: str, loss: str, rule: str
) -> None:
    """Three rows in four have no history, so that with batches of two many have none at all."""
    few = pl.read_parquet(steps / "train.parquet").head(32)
    few.with_columns(
        pl.when(pl.int_range(pl.len()) % 4 == 3).then(column).otherwise(pl.lit([], dtype=few.schema[column]))
        for column in ("past", "past_words")
    ).write_parquet(tmp_path / "train.parquet")
    path = write_run(
        model=MODELS[model],
        objective=objective(positions=positions, loss=LOSSES[loss]),
        tables={"dim": 8, "rule": RULES[rule] | ({"l2": 0.1} if rule == "fused" else {})},
        train={"batch_size": 2, "epochs": 1},
    )
    changed = [f"dataset.splits.train={tmp_path / 'train.parquet'}", f"prepare.into={tmp_path / 'prepared'}"]
    prepare.run(load(path, prepare.Config, changed))
    trained(path, *changed)
    assert all(part.isfinite().all() for part in state(path).values())
    _, measured = evaluated(path)
    assert all(math.isfinite(number) for of in measured["ranking"].values() for number in of.values())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": MODELS["sigma"]},
            r"objective\.positions: sigma looks ahead.*use last",
        ),
        (
            {"tables": {"rule": RULES["fused"]}},
            r"objective\.loss\.name: softmax.*needs tables\.rule\.name: dense",
        ),
        (
            {"model": MODELS["final_mlp"]},
            r"model\.name: final_mlp is for objective\.name: click, not next_item",
        ),
        (
            {"objective": {"name": "click"}},
            r"model\.name: sasrec is for objective\.name: next_item, not click",
        ),
        (
            {"train": {"monitor": "auc"}},
            r"train\.monitor: auc is not measured.*use ndcg, hit_rate, mrr",
        ),
        (
            {"objective": objective(seen="mask", seen_from="words")},
            r"objective\.seen_from: words holds no items; history/item, bought do",
        ),
        (
            {"objective": objective(seen="mask", seen_from="history/word")},
            r"objective\.seen_from: history/word holds no items; history/item, bought do",
        ),
        (
            {"objective": objective(seen_from="bought")},
            r"objective.*seen_from tells what seen: mask leaves out; set seen: mask",
        ),
        (
            {"objective": objective(prefixes=2)},
            r"objective.*prefixes belongs to positions: last",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named_with_a_remedy_before_anything_is_written(
    write_run: Callable[..., Path], sections: dict[str, Any], message: str
) -> None:
    path = write_run(**sections)
    with pytest.raises(ConfigError, match=message):
        trained(path)
    assert not (path.parent / "runs" / "steps").exists()
