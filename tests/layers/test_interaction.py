"""Products of pairs against loops over pairs."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import pytest
import torch

from ctrgate.layers.interaction import BilinearInteraction, pairwise_products


@pytest.mark.parametrize(("batch_size", "num_fields"), [(1, 5), (4, 5), (3, 2), (3, 1)])
def test_pairwise_products_are_a_sum_over_pairs(batch_size: int, num_fields: int) -> None:
    torch.manual_seed(0)
    fields = torch.randn(batch_size, num_fields, 3)
    expected = [[sum(float(row[i] @ row[j]) for i, j in combinations(range(num_fields), 2))] for row in fields]
    torch.testing.assert_close(pairwise_products(fields), torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("kind", ["all", "each", "pair"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bilinear_interaction_turns_the_left_field(kind: Literal["all", "each", "pair"], batch_size: int) -> None:
    torch.manual_seed(0)
    layer = BilinearInteraction(4, 3, kind=kind)
    fields = torch.randn(batch_size, 4, 3)
    expected = []
    for place, (i, j) in enumerate(combinations(range(4), 2)):
        weight = layer.weight if kind == "all" else layer.weight[i if kind == "each" else place]
        expected.append((fields[:, i] @ weight) * fields[:, j])
    torch.testing.assert_close(layer(fields), torch.stack(expected, dim=1))


@pytest.mark.parametrize(("kind", "count"), [("all", 9), ("each", 27), ("pair", 54)])
def test_a_bilinear_interaction_has_as_many_matrices_as_its_kind_says(
    kind: Literal["all", "each", "pair"], count: int
) -> None:
    assert BilinearInteraction(4, 3, kind=kind).weight.numel() == count


def test_an_identity_for_all_pairs_gives_plain_products() -> None:
    layer = BilinearInteraction(3, 4, kind="all")
    layer.load_state_dict({"weight": torch.eye(4)})
    fields = torch.randn(2, 3, 4)
    torch.testing.assert_close(layer(fields).sum(dim=(1, 2)), pairwise_products(fields)[:, 0])
