"""The table by the length of histories, worked by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.long_tail import EXPERIMENTS, TITLES, auc_gain, grouped_auc_gain, table

# Two users of 0 to 3 events, one of more; a positive and a negative of the first two, two negatives of the third.
USERS = [1, 1, 2, 2, 3, 3, 3]
LABELS = [1, 0, 1, 0, 0, 0, 1]
LENGTHS = ["0 to 3"] * 4 + ["more than 6"] * 3


def scored(*logits: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "group:uid": USERS,
            "label:label": np.array(LABELS, dtype=np.float32),
            "logit:label": list(logits),
            "segment:events in history": LENGTHS,
        }
    )


GOOD = scored(3, 0, 4, 1, 0, 1, 5)
# Of the first four rows: positives 0 and 4, negatives 3 and 1, so 2 of 4 pairs are won, and of users the second alone.
HALF = scored(0, 3, 4, 1, 0, 1, 5)


def test_the_table_has_means_spreads_and_the_gain_by_slice() -> None:
    runs = {name: [HALF, GOOD] if name == "collm_ml_1m_aw_moe_plain" else [GOOD, GOOD] for name in TITLES}
    lines = table(runs, num_resamples=50).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["test rows", "", *TITLES.values(), "gain of the contrastive loss"]
    assert len({len(line) for line in cells}) == 1
    assert [line[:2] for line in cells[2:]] == [
        ["all (7 rows, 3 users)", "AUC"],
        ["", "within users"],
        ["0 to 3 events (4 rows, 2 users)", "AUC"],
        ["", "within users"],
        ["more than 6 events (3 rows, 1 users)", "AUC"],
        ["", "within users"],
    ]
    assert cells[4][2] == "1.0000 ± 0.0000"
    # .5 and 1: mean .75, standard deviation .5 / sqrt 2; the gain is 1 - .75
    assert cells[4][6] == "0.7500 ± 0.3536"
    assert cells[4][-1].startswith("+0.2500 [")
    # within users: 0 and 1 over two rows each, so again .5
    assert cells[5][6] == "0.7500 ± 0.3536"
    # within users of all rows: (2 * 0 + 2 * 1 + 3 * 1) / 7 and 1
    assert cells[3][6] == f"{(5 / 7 + 1) / 2:.4f} ± {2 / 7 / 2**0.5:.4f}"
    assert cells[6][-1] == "+0.0000 [+0.0000, +0.0000]"


def test_intervals_resample_whole_users_and_pair_the_runs() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 10)
    labels = rng.integers(0, 2, size=600)
    base = labels + rng.normal(scale=1.5, size=600)

    def run(logits: np.ndarray) -> pl.DataFrame:
        return pl.DataFrame({"group:uid": users, "label:label": labels.astype(np.float32), "logit:label": logits})

    others = [run(base), run(base + 0.01 * rng.normal(size=600))]
    better = [run(base + 0.2 * labels), run(base + 0.2 * labels)]
    for gain in (auc_gain, grouped_auc_gain):
        same = gain(others, others, num_resamples=100)
        assert (same.value, same.low, same.high) == (0, 0, 0)
        found = gain(better, others, num_resamples=200)
        assert 0 < found.low < found.value < found.high
        # Unpaired, it would be as wide as that of one AUC, some .04 to each side.
        assert found.high - found.low < 0.03
    # Each user ten times over: the users are the same ones, so the interval does not shrink.
    many = [pl.concat([frame] * 10) for frame in better], [pl.concat([frame] * 10) for frame in others]
    once, often = auc_gain(better, others, num_resamples=200), auc_gain(*many, num_resamples=200)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.01)


def test_every_column_of_the_table_has_its_run_file() -> None:
    assert [name for name in TITLES if not (EXPERIMENTS / f"{name}.yaml").exists()] == []
