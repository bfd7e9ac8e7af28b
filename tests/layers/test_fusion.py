"""Bilinear fusion against a loop over heads, and at its limits."""

from __future__ import annotations

import pytest
import torch

from ctrgate.layers.fusion import BilinearFusion


@pytest.mark.parametrize(("heads", "outputs", "batch_size"), [(1, 1, 4), (3, 1, 1), (3, 2, 4), (6, 1, 5)])
def test_fusion_is_a_sum_over_contiguous_heads(heads: int, outputs: int, batch_size: int) -> None:
    torch.manual_seed(0)
    fusion = BilinearFusion(6, 12, num_heads=heads, num_outputs=outputs)
    one, two = torch.randn(batch_size, 6), torch.randn(batch_size, 12)
    width1, width2 = 6 // heads, 12 // heads
    weight = fusion.bilinear.view(heads, width1, outputs, width2)
    expected = fusion.linear1(one) + fusion.linear2(two)
    for row in range(batch_size):
        for output in range(outputs):
            for head in range(heads):
                left = one[row, head * width1 : (head + 1) * width1]
                right = two[row, head * width2 : (head + 1) * width2]
                expected[row, output] += left @ weight[head, :, output] @ right
    torch.testing.assert_close(fusion(one, two), expected)


def test_one_head_is_a_full_bilinear_form() -> None:
    fusion = BilinearFusion(4, 5, num_heads=1)
    one, two = torch.randn(3, 4), torch.randn(3, 5)
    bilinear = torch.einsum("bi,ij,bj->b", one, fusion.bilinear.view(4, 5), two)
    torch.testing.assert_close(fusion(one, two), fusion.linear1(one) + fusion.linear2(two) + bilinear[:, None])


def test_as_many_heads_as_units_is_a_weighted_dot_product() -> None:
    fusion = BilinearFusion(4, 4, num_heads=4)
    one, two = torch.randn(3, 4), torch.randn(3, 4)
    dot = (one * two) @ fusion.bilinear
    torch.testing.assert_close(fusion(one, two), fusion.linear1(one) + fusion.linear2(two) + dot)


def test_the_bilinear_weight_starts_xavier_normal_on_its_flat_shape() -> None:
    torch.manual_seed(0)
    fusion = BilinearFusion(400, 100, num_heads=5)
    assert fusion.bilinear.shape == (8000, 1)
    assert float(fusion.bilinear.detach().std()) == pytest.approx((2 / 8001) ** 0.5, rel=0.03)
