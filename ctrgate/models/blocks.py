"""Parts that several networks are made of: an MLP's settings, the linear term, equal widths, cross beside deep."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Layout
from ctrgate.layers.cross import CrossNet
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.mlp import Activation, GatedUnit, Mlp
from ctrgate.models.inputs import Embedding, Inputs, every_field
from ctrgate.ranges import Count, Share

__all__ = ["DeepAndCross", "EqualWidths", "MlpConfig", "Widths", "linear_embeddings", "linear_term"]

Widths = Annotated[tuple[Count, ...], Field(min_length=1)]
LINEAR = "linear"


@settings
class MlpConfig:
    """One MLP: widths, and what each block holds."""

    hidden: Widths = (400, 400, 400)
    """Width of each hidden layer."""
    activation: Activation | GatedUnit = "relu"
    """Of each hidden layer; ``glu``, ``swiglu`` and ``geglu`` are units with a gate of their own."""
    dropout: Share = 0.0
    """Share of each hidden layer that is dropped in training."""
    batch_norm: bool = True
    """Whether each hidden layer is normalised over the batch, before its activation."""

    @property
    def plain_activation(self) -> Activation:
        """The activation, for networks whose layers are not this MLP's.

        Raises:
            ConfigError: Where it is a gated unit.
        """
        if self.activation == "glu" or self.activation == "swiglu" or self.activation == "geglu":
            raise ConfigError(f"model: {self.activation} gates the layers of a plain MLP; choose relu, gelu, silu ...")
        return self.activation

    def build(self, input_dim: int, *, output_dim: int | None = None) -> Mlp:
        """The module for an input width."""
        return Mlp(
            input_dim,
            hidden_dims=self.hidden,
            output_dim=output_dim,
            activation=self.activation,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
        )


def linear_embeddings(layout: Layout) -> tuple[Embedding, ...]:
    """One weight per value and label, beside the fields' own embeddings."""
    return every_field(layout, group=LINEAR, dim=len(layout.labels))


def linear_term(fields: Fields) -> Tensor:
    """The sum of the fields' weights, ``(B, L)``; without a bias."""
    return torch.stack([fields.lookup(LINEAR, name) for name in fields.order], dim=1).sum(dim=1)


class EqualWidths(nn.Module):
    """The dataset's fields one below the other; where widths differ, narrow fields are projected to the widest.

    With equal widths (every published recipe) it has no parameters.

    Shape:
        - returns: ``(B, F, D)``, D the largest width
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        widths = [inputs.dims[name] for name in inputs.order]
        self.num_fields, self.dim = len(widths), max(widths)
        self.projections = nn.ModuleList(
            nn.Identity() if width == self.dim else xavier_linear(width, self.dim, bias=False) for width in widths
        )

    def forward(self, fields: Fields) -> Tensor:
        rows = [project(fields[name]) for name, project in zip(fields.order, self.projections, strict=True)]
        return torch.stack(rows, dim=1)


class DeepAndCross(nn.Module):
    """``logit = A [S(c_L), P(x)] + a``: a cross net, an MLP ``S`` upon it and an MLP ``P`` beside it, or neither.

    Args:
        cross: ``x -> c_L``.
        inputs: What stands below.
        stacked: S; None for ``S(c) = c``.
        parallel: P; None for no second part.
    """

    def __init__(
        self, cross: CrossNet, *, inputs: Inputs, stacked: MlpConfig | None, parallel: MlpConfig | None
    ) -> None:
        super().__init__()
        self.cross = cross
        self.stacked = stacked.build(inputs.flat_dim) if stacked else None
        self.parallel = parallel.build(inputs.flat_dim) if parallel else None
        width = self.stacked.out_dim if self.stacked else inputs.flat_dim
        width += self.parallel.out_dim if self.parallel else 0
        self.output = xavier_linear(width, inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        flat = fields.flat
        parts = [self.cross(flat)]
        if self.stacked is not None:
            parts = [self.stacked(parts[0])]
        if self.parallel is not None:
            parts.append(self.parallel(flat))
        return Output(logits=self.output(torch.cat(parts, dim=1)))
