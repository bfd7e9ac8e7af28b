"""What a column ranks alone: nothing for noise, however many bins it has, and all for the label itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ctrgate.validation.leak import single_auc


def counted(labels: np.ndarray, bins: np.ndarray, *, num_bins: int) -> np.ndarray:
    halves = np.arange(len(labels)) % 2
    return np.bincount((halves * 2 + labels) * num_bins + bins, minlength=4 * num_bins).reshape(2, 2, num_bins)


def test_noise_in_many_bins_ranks_nothing() -> None:
    random = np.random.default_rng(0)
    labels, bins = random.integers(2, size=4_000), random.integers(256, size=4_000)
    found = single_auc(counted(labels, bins, num_bins=256), level=0.999)
    assert found is not None
    assert found.low < 0.5 < found.high
    assert found.value == pytest.approx(0.5, abs=0.03)


def test_the_label_itself_ranks_all() -> None:
    labels = np.random.default_rng(0).integers(2, size=400)
    found = single_auc(counted(labels, labels, num_bins=2), level=0.999)
    assert found is not None
    assert found.value == found.low == 1.0


def test_it_is_the_mean_of_the_aucs_of_both_halves() -> None:
    random = np.random.default_rng(1)
    bins = random.integers(5, size=2_000)
    labels = (random.random(2_000) < 0.1 + 0.15 * bins).astype(int)
    found = single_auc(counted(labels, bins, num_bins=5), level=0.95)
    aucs = []
    for half in (0, 1):
        here, there = np.arange(2_000) % 2 == half, np.arange(2_000) % 2 != half
        shares = np.array([labels[there & (bins == place)].mean() for place in range(5)])
        aucs.append(roc_auc_score(labels[here], shares[bins[here]]))
    assert found is not None
    assert found.value == pytest.approx(np.mean(aucs))


def test_too_few_rows_of_a_class_tell_nothing() -> None:
    labels = np.zeros(200, dtype=int)
    labels[:10] = 1
    assert single_auc(counted(labels, labels, num_bins=2), level=0.95) is None
    assert single_auc(np.zeros((2, 2, 0), dtype=np.int64), level=0.95) is None
