"""Next-item metrics against hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctrgate.errors import DataError
from ctrgate.metrics.ranking import hit_rate, mrr, ndcg


def test_hits_gains_and_reciprocal_ranks_within_the_first_k() -> None:
    ranks = np.array([1, 3, 11])
    assert hit_rate(ranks, k=10) == pytest.approx(2 / 3)
    assert ndcg(ranks, k=10) == pytest.approx((1 + 1 / math.log2(4) + 0) / 3)
    assert mrr(ranks, k=10) == pytest.approx((1 + 1 / 3) / 3)
    assert hit_rate(ranks, k=2) == pytest.approx(1 / 3)


@pytest.mark.parametrize("ranks", [[], [0], [math.nan]])
def test_ranks_that_cannot_be_are_refused(ranks: list) -> None:
    with pytest.raises(DataError, match="ranks"):
        hit_rate(np.array(ranks), k=1)
