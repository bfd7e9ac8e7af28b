"""MaskNet's block against its formula."""

from __future__ import annotations

import pytest
import torch

from ctrgate.layers.mask_block import MaskBlock


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("norm", [True, False])
def test_a_mask_block_is_its_formula(batch_size: int, norm: bool) -> None:
    torch.manual_seed(0)
    block = MaskBlock(3, input_dim=2, output_dim=4, mask_ratio=2.0, norm=norm)
    hidden, embedding = torch.randn(batch_size, 2), torch.randn(batch_size, 3)
    expected = []
    for b in range(batch_size):
        mask = block.mask.output(torch.relu(block.mask.hidden(embedding[b])))
        line = block.linear.weight @ (hidden[b] * mask)
        if norm:
            line = (line - line.mean()) / (line.var(correction=0) + 1e-5).sqrt()
        expected.append(line.clamp(min=0))
    torch.testing.assert_close(block(hidden, embedding), torch.stack(expected))


@pytest.mark.parametrize(("ratio", "width"), [(2.0, 20), (0.5, 5), (0.01, 1)])
def test_the_masks_hidden_width_is_a_multiple_of_what_it_masks(ratio: float, width: int) -> None:
    assert MaskBlock(3, input_dim=10, output_dim=4, mask_ratio=ratio).mask.hidden.out_features == width


def test_a_mask_of_ones_leaves_a_plain_layer() -> None:
    block = MaskBlock(3, input_dim=2, output_dim=4, mask_ratio=1.0, norm=False)
    torch.nn.init.zeros_(block.mask.output.weight)
    torch.nn.init.ones_(block.mask.output.bias)
    hidden = torch.randn(5, 2)
    torch.testing.assert_close(block(hidden, torch.randn(5, 3)), (hidden @ block.linear.weight.T).relu())
