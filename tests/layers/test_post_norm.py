"""The post-norm encoder against its formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ctrgate.layers.post_norm import PostNormEncoder


class Shift(nn.Module):
    """Each event becomes the sum of itself and the one before it, times a number."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        inputs = inputs * mask.unsqueeze(2)
        return self.times * (inputs + nn.functional.pad(inputs, (0, 0, 1, 0))[:, :-1])


def normalised(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / centred.square().mean(dim=-1, keepdim=True).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_post_norm_encoder_is_its_formula_and_skips_only_from_two_mixers_on(num_layers: int) -> None:
    torch.manual_seed(0)
    mixers = [Shift(0.5 + place) for place in range(num_layers)]
    encoder = PostNormEncoder(mixers, dim=4, dropout=0.3).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    events, mask = torch.randn(2, 5, 4), torch.arange(5) < torch.tensor([[5], [3]])
    x = normalised(events, encoder.norm)
    for layer, mixer in zip(encoder.layers, mixers, strict=True):
        h = normalised(mixer(x, mask) + (x if num_layers > 1 else 0), layer.norm)
        inner = h @ layer.widen.weight.T + layer.widen.bias
        assert inner.size(2) == 16
        inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
        x = normalised(inner @ layer.narrow.weight.T + layer.narrow.bias + h, layer.last_norm)
    torch.testing.assert_close(encoder(events, mask)[mask], x[mask])
    assert encoder(events, mask).isfinite().all()


def test_dropout_is_before_the_first_norm_and_in_training_only() -> None:
    encoder = PostNormEncoder([], dim=50, dropout=0.5)
    events, mask = torch.ones(4, 3, 50), torch.ones(4, 3, dtype=torch.bool)
    trained = encoder(events, mask)
    torch.testing.assert_close(trained.mean(dim=2), torch.zeros(4, 3), atol=1e-5, rtol=0)
    assert len(trained.unique()) > 2
    assert not encoder.eval()(events, mask).any()
