"""AutoInt: self-attention over fields; AutoInt+ adds an MLP."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.attention import FieldAttention
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.blocks import EqualWidths, MlpConfig, linear_embeddings, linear_term
from ctrgate.models.inputs import Embedding, Inputs, every_field
from ctrgate.ranges import Count, Share


@settings
class AutoIntConfig:
    """``logit = w . flat(E_L) + b`` (+ an MLP: AutoInt+) (+ a linear term) (Song et al., CIKM 2019, arXiv 1810.11921).

    The defaults are the layer behind BARS; ``projection: relu``, ``scaled: true`` and ``layer_norm: after`` give the
    authors' (see ``FieldAttention``).
    """

    name: Literal["auto_int"] = "auto_int"
    num_layers: Count = 3
    """Layers of attention, one upon the other: each adds an order of interactions."""
    attention_dim: Count = 64
    """Width of a field after a layer, all heads together."""
    num_heads: Count = 2
    """Divides ``attention_dim``."""
    projection: Literal["linear", "relu"] = "linear"
    """How queries, keys, values and residuals are made: bias-free linear, or linear with bias and ReLU."""
    scaled: bool = True
    """Whether attention logits are divided by the root of a head's width."""
    residual: bool = True
    """Whether what enters a layer is added to what attention found."""
    layer_norm: Literal["none", "before", "after"] = "none"
    """A layer norm before or after each layer's closing ReLU."""
    gate: Literal["none", "head", "element"] = "none"
    """Whether what attention found is gated by what the field says (not in the paper), per head or per coordinate."""
    dropout: Share = 0.0
    """On attention weights."""
    linear: bool = False
    """Whether a weight per value is added."""
    mlp: MlpConfig | None = None
    """The MLP of AutoInt+, on the embeddings; null for AutoInt."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        width = self.attention_dim
        if width % self.num_heads:
            fitting = [str(heads) for heads in range(1, width + 1) if width % heads == 0][:8]
            raise ValueError(
                f"num_heads {self.num_heads} does not divide attention_dim {width}; use {', '.join(fitting)} …"
            )
        return self

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding per field, and one weight (per label) for each where there is a linear term."""
        return every_field(layout) + (linear_embeddings(layout) if self.linear else ())

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return AutoInt(self, inputs=inputs)


class AutoInt(nn.Module):
    """Attention layers and an output layer; MLP and linear term are added to its logits."""

    def __init__(self, config: AutoIntConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        widths = (self.equal.dim, *(config.attention_dim,) * (config.num_layers - 1))
        self.attention = nn.Sequential(
            *(
                FieldAttention(
                    width,
                    attention_dim=config.attention_dim,
                    num_heads=config.num_heads,
                    projection=config.projection,
                    scaled=config.scaled,
                    residual=config.residual,
                    layer_norm=config.layer_norm,
                    gate=config.gate,
                    dropout=config.dropout,
                )
                for width in widths
            )
        )
        self.output = xavier_linear(self.equal.num_fields * config.attention_dim, inputs.num_labels)
        self.mlp = config.mlp.build(inputs.flat_dim, output_dim=inputs.num_labels) if config.mlp else None
        self.linear = config.linear

    def forward(self, fields: Fields) -> Output:
        logits = self.output(self.attention(self.equal(fields)).flatten(1))
        if self.mlp is not None:
            logits = logits + self.mlp(fields.flat)
        if self.linear:
            logits = logits + linear_term(fields)
        return Output(logits=logits)
