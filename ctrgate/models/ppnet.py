"""PPNet: an MLP whose every layer's input is scaled by a gate that knows whom and what the row is about."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.gates import PersonalGate
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.mlp import Mlp
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.inputs import Embedding, Inputs, every_field
from ctrgate.ranges import Count


@settings
class PPNetConfig:
    """``h' = block(h * 2 sigmoid(gate([c, stopgrad(h)])))``, c the context (PEPNet, KDD 2023, arXiv 2302.01115).

    The gate before the first layer is the paper's EPNet, those before the others its PPNet. The context is read through
    tables of its own; without one the gates see the layers' inputs alone.
    """

    name: Literal["ppnet"] = "ppnet"
    mlp: MlpConfig = MlpConfig()
    """The network whose layers are gated."""
    gate_context: tuple[str, ...] = ()
    """Fields that say whom and what a row is about: user, item, author."""
    gate_hidden: Count = 64
    """Width of each gate's hidden layer."""
    embedding_gate: bool = True
    """Whether the embeddings pass a gate before the first layer."""

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding per field, and one more for each field of the context."""
        return every_field(layout) + tuple(Embedding(field=name, group="gate") for name in self.gate_context)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return PPNet(self, inputs=inputs)


class PPNet(nn.Module):
    """Gates and one-layer blocks by turns, then an output layer."""

    def __init__(self, config: PPNetConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self._context = config.gate_context
        context_dim = inputs.context_dim("gate", config.gate_context)
        widths = (inputs.flat_dim, *config.mlp.hidden)

        def gate(width: int) -> PersonalGate:
            return PersonalGate(feature_dim=width, context_dim=context_dim, hidden_dim=config.gate_hidden)

        first = gate(widths[0]) if config.embedding_gate else nn.Identity()
        self.gates = nn.ModuleList([first, *(gate(width) for width in widths[1:-1])])
        self.blocks = nn.ModuleList(
            Mlp(
                input_dim,
                hidden_dims=(hidden_dim,),
                activation=config.mlp.activation,
                dropout=config.mlp.dropout,
                batch_norm=config.mlp.batch_norm,
            )
            for input_dim, hidden_dim in zip(widths, config.mlp.hidden, strict=False)
        )
        self.output = xavier_linear(widths[-1], inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        hidden = fields.flat
        context = torch.cat([hidden[:, :0], *(fields.lookup("gate", name) for name in self._context)], dim=1)
        for gate, block in zip(self.gates, self.blocks, strict=True):
            hidden = block(gate(hidden, context) if isinstance(gate, PersonalGate) else hidden)
        return Output(logits=self.output(hidden))

    def gates_of_units(self) -> list[nn.Module]:
        """Gates whose coordinates are hidden units: all but the first, which stands before the embeddings."""
        return list(self.gates)[1:]
