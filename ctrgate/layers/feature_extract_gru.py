"""Short-term patterns of a history: SIGMA's FE-GRU."""

from __future__ import annotations

from torch import Tensor, nn

from ctrgate.layers.convolution import HistoryConvolution

__all__ = ["FeatureExtractGRU"]


class FeatureExtractGRU(nn.Module):
    """``y = GRU(conv(x))``: a centred convolution over events, then a GRU without biases (SIGMA, arXiv 2408.11451).

    A position depends on the next one through the convolution. Padding counts as zero.

    Args:
        dim: D, of input, convolution and GRU.
        conv_width: Events that the convolution sees, odd.

    Shape:
        - inputs: ``(B, T, D)``
        - mask: ``(B, T)`` bool, True where real
        - returns: ``(B, T, D)``
    """

    def __init__(self, dim: int, *, conv_width: int = 3) -> None:
        super().__init__()
        self.conv = HistoryConvolution(dim, conv_width=conv_width, causal=False)
        self.gru = nn.GRU(dim, dim, bias=False, batch_first=True)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.gru(self.conv(inputs, mask))[0]
        return states
