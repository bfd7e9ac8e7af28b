"""MaskNet: blocks that the row's own embedding masks, one upon the other or side by side."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.mask_block import MaskBlock
from ctrgate.layers.mlp import Activation
from ctrgate.models.blocks import MlpConfig, Widths
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Positive, Share


@settings
class MaskNetConfig(EveryField):
    """MaskNet (Wang et al., DLP-KDD 2021, arXiv 2102.07619), serial or parallel.

    The masks always read the raw embeddings; the blocks, or the first of a series, read the normalised ones.
    """

    name: Literal["mask_net"] = "mask_net"
    structure: Literal["serial", "parallel"] = "parallel"
    """Whether each block reads the one before it, or all read the embeddings and lie side by side."""
    blocks: Widths = (64, 64, 64)
    """Width of each block."""
    mask_ratio: Positive = 1.0
    """Width of a mask's hidden layer as a multiple of the width it masks; above 1 it expands."""
    embedding_norm: bool = True
    """A layer norm on each field, with parameters of its own."""
    block_norm: bool = True
    """A layer norm in each block."""
    activation: Activation = "relu"
    """Of each block; ``mlp`` has its own."""
    dropout: Share = 0.0
    """At the end of each block."""
    mlp: MlpConfig | None = None
    """What follows the blocks (usual with parallel ones); null for a linear layer."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return MaskNet(self, inputs=inputs)


class MaskNet(nn.Module):
    """Mask blocks, then an MLP or a linear layer."""

    def __init__(self, config: MaskNetConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self._serial = config.structure == "serial"
        dims = [inputs.dims[name] for name in inputs.order]
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims) if config.embedding_norm else None
        below = (inputs.flat_dim, *config.blocks[:-1]) if self._serial else (inputs.flat_dim,) * len(config.blocks)
        self.blocks = nn.ModuleList(
            MaskBlock(
                inputs.flat_dim,
                input_dim=input_dim,
                output_dim=output_dim,
                mask_ratio=config.mask_ratio,
                norm=config.block_norm,
                activation=config.activation,
                dropout=config.dropout,
            )
            for input_dim, output_dim in zip(below, config.blocks, strict=True)
        )
        width = config.blocks[-1] if self._serial else sum(config.blocks)
        self.output: nn.Module = (
            config.mlp.build(width, output_dim=inputs.num_labels)
            if config.mlp
            else xavier_linear(width, inputs.num_labels)
        )

    def forward(self, fields: Fields) -> Output:
        raw = fields.flat
        hidden = raw if self.norms is None else self._normalised(fields, self.norms)
        if self._serial:
            for block in self.blocks:
                hidden = block(hidden, raw)
        else:
            hidden = torch.cat([block(hidden, raw) for block in self.blocks], dim=1)
        return Output(logits=self.output(hidden))

    def gates_of_units(self) -> list[nn.Module]:
        """Gates whose coordinates are hidden units: masks of what a block below found."""
        return [block.get_submodule("mask") for block in list(self.blocks)[1:]] if self._serial else []

    def _normalised(self, fields: Fields, norms: nn.ModuleList) -> Tensor:
        return torch.cat([norm(fields[name]) for name, norm in zip(fields.order, norms, strict=True)], dim=1)
