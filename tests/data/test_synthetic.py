import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from ctrgate.data import criteo_shaped
from ctrgate.data.planted import Planted, best_scores
from ctrgate.data.synthetic import BLOCK, DEVICES, SLOTS, SyntheticConfig, plant, write, zipf
from ctrgate.errors import ArtifactError

SMALL = SyntheticConfig(num_rows=4_000, rows_per_file=1_500, num_users=30, num_items=20, max_history=4)
LONG = SyntheticConfig(num_rows=BLOCK + 9_000, rows_per_file=BLOCK, num_users=40, num_items=20, max_history=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "generated"
    write(SMALL, folder)
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long") / "generated"
    write(LONG, folder)
    return pl.read_parquet(folder / "rows")


def number(raw: str) -> int:
    return int(raw.partition("=")[2])


def logit_by_hand(row: dict[str, object], planted: Planted) -> float:
    """The formula of Planted's docstring, term by term."""
    user, item = row["user"], row["item"]
    device, slot = DEVICES.index(row["device"]), SLOTS.index(row["slot"])
    total = planted.bias + planted.effects["user"][user] + planted.effects["item"][item]
    total += planted.effects["category"][number(row["category"])]
    for place, tag in enumerate(["tag_1", "tag_2"]):
        if planted.slot_gates[slot][place]:
            total += planted.effects[tag][number(row[tag])]
    for k in range(len(planted.taste[user])):
        if planted.device_gates[device][k]:
            total += planted.affinity * planted.taste[user][k] * planted.appeal[item][k]
    if row["price"] is not None and planted.price_gates[device]:
        total += planted.price_slope * math.log(row["price"] / 10)
    if row["age"] is not None:
        total += planted.age_slope * (row["age"] - 40) / 12
    return total


def test_the_saved_truth_gives_every_rows_probability(small: Path):
    planted = Planted.load(small / "planted")
    for row in pl.read_parquet(small / "rows").head(500).iter_rows(named=True):
        click = 1 / (1 + math.exp(-logit_by_hand(row, planted)))
        assert row["click_probability"] == pytest.approx(click, abs=1e-12)
        bought = 1 / (1 + math.exp(1 - planted.effects["item"][row["item"]]))
        assert row["buy_probability"] == pytest.approx(click * bought, abs=1e-12)


def test_the_saved_truth_is_the_drawn_one(small: Path):
    saved, drawn = Planted.load(small / "planted"), plant(SMALL)
    assert saved.bias == drawn.bias
    for name in ("taste", "appeal", "item_category", "device_gates", "slot_gates", "price_gates"):
        assert (getattr(saved, name) == getattr(drawn, name)).all(), name
    assert list(saved.effects) == list(drawn.effects)
    assert all((saved.effects[name] == drawn.effects[name]).all() for name in drawn.effects)


def test_a_folder_without_the_truth_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ArtifactError, match="holds no planted truth"):
        Planted.load(tmp_path)


def test_one_seed_gives_the_same_bytes_and_another_one_other_rows(small: Path, tmp_path: Path):
    write(SMALL, tmp_path / "again")
    other = SyntheticConfig(**{**vars(SMALL), "seed": 1})
    write(other, tmp_path / "other")
    files = sorted(path.relative_to(small) for path in small.rglob("*") if path.is_file())
    assert len(files) == 3 + 3
    assert all((small / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    ours, others = pl.read_parquet(small / "rows"), pl.read_parquet(tmp_path / "other" / "rows")
    assert not ours["user"].equals(others["user"])
    assert plant(other).effects["user"].tolist() != plant(SMALL).effects["user"].tolist()


@pytest.mark.parametrize("rows_per_file", [1_000, 65_536, 70_000, 1_000_000])
def test_the_size_of_files_changes_no_row(long: pl.DataFrame, tmp_path: Path, rows_per_file: int):
    write(SyntheticConfig(**{**vars(LONG), "rows_per_file": rows_per_file}), tmp_path / "other")
    files = sorted((tmp_path / "other" / "rows").iterdir())
    assert len(files) == math.ceil(LONG.num_rows / rows_per_file)
    assert pl.read_parquet(files[0]).height == min(rows_per_file, LONG.num_rows)
    assert pl.read_parquet(files).equals(long)


def test_rows_are_numbered_and_in_the_order_of_time(long: pl.DataFrame):
    assert long["row"].to_list() == list(range(LONG.num_rows))
    assert long["timestamp"].is_sorted()
    days = long["timestamp"] // 86_400
    assert days.n_unique() == LONG.num_days
    hours = long["timestamp"] % 86_400 // 3_600
    assert (long["slot"] == pl.Series([SLOTS[hour // 6] for hour in hours])).all()


@pytest.mark.parametrize(("num_rows", "num_users", "tied"), [(BLOCK + 9_000, 5, False), (4 * BLOCK + 5_000, 2, True)])
def test_a_history_holds_the_last_items_of_strictly_earlier_seconds(
    tmp_path: Path, num_rows: int, num_users: int, tied: bool
):
    config = SyntheticConfig(num_rows=num_rows, num_users=num_users, num_days=1, max_history=3)
    write(config, tmp_path / "generated")
    rows = pl.read_parquet(tmp_path / "generated" / "rows")
    assert rows.select(pl.struct("user", "timestamp").is_duplicated().any()).item() == tied
    seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for user, item, second, history in rows.select("user", "item", "timestamp", "history").iter_rows():
        earlier = [item for then, item in seen[user][-20:] if then < second]
        assert history == earlier[-3:]
        seen[user].append((second, item))


def test_labels_come_with_their_probability(long: pl.DataFrame):
    for label in ("click", "buy"):
        bins = long.group_by((pl.col(f"{label}_probability") * 20).floor()).agg(
            pl.len(), pl.col(label).sum(), pl.col(f"{label}_probability").sum().alias("expected")
        )
        for _, num_rows, positives, expected in bins.iter_rows():
            spread = math.sqrt(max(expected * (1 - expected / num_rows), 1))
            assert abs(positives - expected) < 4.5 * spread, label
    assert ((long["buy"] == 0) | (long["click"] == 1)).all()


def test_noise_moves_no_click_and_signal_does():
    config = SyntheticConfig(num_users=400, num_items=300, num_categories=150, num_values=150)
    planted = plant(config)
    ids = dict.fromkeys(["user", "item", "category", "device", "slot", *planted.tags], np.zeros(1, dtype=np.int64))

    def logit(**changed: int) -> float:
        now = ids | {name: np.array([value]) for name, value in changed.items()}
        return float(planted.logits(now, price=np.full(1, np.nan), age=np.full(1, np.nan))[0])

    for field in ("user", "item", "category", "tag_1", "tag_2"):
        noise = np.flatnonzero(~planted.is_signal(field))
        share = len(noise) / len(planted.effects[field])
        assert 0.1 < share < 0.3, field
        contexts = [{"device": device, "slot": slot} for device in range(4) for slot in range(4)]
        of_noise = {tuple(logit(**{field: value}, **context) for context in contexts) for value in noise}
        assert len(of_noise) == 1, f"{field}: all noise values are one and the same to the truth"
        of_signal = [
            tuple(logit(**{field: value}, **context) for context in contexts)
            for value in np.flatnonzero(planted.is_signal(field))
        ]
        assert all(value not in of_noise for value in of_signal), field
    assert [name for name in planted.effects if not planted.is_signal(name).any()] == ["noise_1", "noise_2"]


def test_every_gate_is_open_for_half_of_its_contexts():
    planted = plant(SMALL)
    for gates in (planted.device_gates, planted.slot_gates, planted.price_gates[:, None]):
        assert (gates.sum(axis=0) == 2).all()
        assert set(np.unique(gates)) == {0, 1}


def test_noise_fields_and_missing_numbers_are_there_as_declared(small: Path):
    rows = pl.read_parquet(small / "rows")
    assert {"noise_1", "noise_2", "noise_number"} <= set(rows.columns)
    for name in ("price", "age"):
        assert 0.08 < rows[name].is_null().mean() < 0.12
        assert not rows[name].is_nan().any()


def test_zipf_gives_each_value_its_share():
    drawn = zipf((np.arange(1_000_000) + 0.5) / 1_000_000, size=5, skew=0.5)
    # The share of value r is sqrt(r + 2) - sqrt(r + 1), over sqrt(6) - 1.
    expected = [(math.sqrt(r + 2) - math.sqrt(r + 1)) / (math.sqrt(6) - 1) for r in range(5)]
    assert np.bincount(drawn) / 1_000_000 == pytest.approx(expected, abs=1e-5)


def test_best_scores_of_hand_worked_rows():
    best = best_scores(np.array([0.2, 0.6, 0.6]), np.array([0, 1, 0]))
    # AUC: the click at .6 beats .2 and ties with .6. Expected: pairs (i, j), i above j, of p_i (1 - p_j).
    assert best.auc == pytest.approx(0.75)
    assert best.log_loss == pytest.approx(-(math.log(0.8) + math.log(0.6) + math.log(0.4)) / 3)
    above = 2 * 0.6 * 0.8 + (0.6 * 0.4 + 0.6 * 0.4) / 2
    assert best.expected_auc == pytest.approx(above / (above + 2 * 0.2 * 0.4 + 0.24))
    entropy = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.2, 0.6, 0.6)]
    assert best.expected_log_loss == pytest.approx(sum(entropy) / 3)


def test_best_scores_agree_with_scikit_learn_and_with_many_drawn_labels():
    random = np.random.default_rng(0)
    probabilities = random.beta(1, 3, size=3_000).round(3).clip(0.001, 0.999)
    drawn = [(random.random(3_000) < probabilities).astype(int) for _ in range(60)]
    best = best_scores(probabilities, drawn[0])
    assert best.auc == pytest.approx(roc_auc_score(drawn[0], probabilities), abs=1e-12)
    assert best.log_loss == pytest.approx(log_loss(drawn[0], probabilities), abs=1e-12)
    aucs = [roc_auc_score(labels, probabilities) for labels in drawn]
    losses = [log_loss(labels, probabilities) for labels in drawn]
    assert best.expected_auc == pytest.approx(np.mean(aucs), abs=4 * np.std(aucs) / math.sqrt(60))
    assert best.expected_log_loss == pytest.approx(np.mean(losses), abs=4 * np.std(losses) / math.sqrt(60))


def test_a_model_cannot_beat_the_best_expected_log_loss(long: pl.DataFrame):
    truth = long["click_probability"].to_numpy()
    best = best_scores(truth, long["click"].to_numpy())
    logits = np.log(truth / (1 - truth))
    for distorted in (0.9 * logits, 1.1 * logits, logits + 0.1, logits + 0.2 * np.sin(np.arange(len(logits)))):
        p = 1 / (1 + np.exp(-distorted))
        assert -np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p)) > best.expected_log_loss


def test_criteo_shaped_rows_have_criteos_columns(tmp_path: Path):
    config = criteo_shaped.CriteoShapedConfig(num_rows=BLOCK + 100, rows_per_file=40_000)
    criteo_shaped.write(config, tmp_path / "rows")
    rows = pl.read_parquet(tmp_path / "rows")
    names = ["label", *(f"I{n}" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27)), "click_probability"]
    assert rows.columns == names
    assert rows.height == BLOCK + 100
    assert len(list((tmp_path / "rows").iterdir())) == 2
    categories = rows.select(pl.col("^C.*$"))
    assert categories.select(pl.all().str.contains("^[0-9a-f]{8}$").drop_nulls().all()).row(0) == (True,) * 26
    assert rows["C22"].is_null().mean() == pytest.approx(0.76, abs=0.01)
    assert rows["I12"].is_null().mean() == pytest.approx(0.77, abs=0.01)
    assert abs(rows["label"].mean() - rows["click_probability"].mean()) < 0.01
    one_file = criteo_shaped.CriteoShapedConfig(num_rows=BLOCK + 100)
    criteo_shaped.write(one_file, tmp_path / "other")
    assert pl.read_parquet(tmp_path / "other").equals(rows)


def test_in_criteo_shaped_rows_a_category_counts_only_where_c9_lets_it(tmp_path: Path):
    criteo_shaped.write(criteo_shaped.CriteoShapedConfig(num_rows=2 * BLOCK), tmp_path / "rows")
    rows = pl.read_parquet(tmp_path / "rows")
    logit = (pl.col("click_probability") / (1 - pl.col("click_probability"))).log()
    switched_on = []
    for field in [f"C{number}" for number in range(1, 9)]:
        means = rows.group_by("C9", field).agg(logit.mean().alias("logit"), pl.len()).filter(pl.col("len") > 100)
        for spread in means.group_by("C9").agg(pl.col("logit").std())["logit"]:
            assert spread < 0.08 or spread > 0.12, f"{field} is on or off, not between"
            switched_on.append(spread > 0.12)
    assert 0.25 < np.mean(switched_on) < 0.75


def test_another_draw_of_criteo_shaped_rows_has_the_same_values_with_the_same_effects(tmp_path: Path):
    for name, settings in {"first": {}, "drawn": {"draw": 1}, "seeded": {"seed": 1}}.items():
        criteo_shaped.write(criteo_shaped.CriteoShapedConfig(num_rows=2 * BLOCK, **settings), tmp_path / name)
    first, drawn, seeded = (pl.read_parquet(tmp_path / name) for name in ("first", "drawn", "seeded"))
    assert not first["C1"].equals(drawn["C1"])
    for field in ("C1", "C9", "C14"):
        assert drawn[field].is_in(first[field].implode()).mean() > 0.99
        assert seeded[field].drop_nulls().is_in(first[field].implode()).mean() < 0.1
    means = [rows.group_by("C9").agg(pl.col("click_probability").mean()).sort("C9") for rows in (first, drawn)]
    assert means[0]["click_probability"].to_list() == pytest.approx(means[1]["click_probability"].to_list(), abs=0.01)
