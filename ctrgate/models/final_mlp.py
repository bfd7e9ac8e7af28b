"""FinalMLP: two MLP streams, each behind its own feature gate, fused bilinearly."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.features.layout import Layout
from ctrgate.layers.fusion import BilinearFusion
from ctrgate.layers.gates import ContextGate
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.inputs import Embedding, Inputs, every_field
from ctrgate.ranges import Count

_GATE_HIDDEN = 800


@settings
class FinalMLPConfig:
    """FinalMLP (Mao et al., AAAI 2023, arXiv 2304.00902).

    Each stream's gate reads its context fields through tables of its own; a stream without context fields learns one
    factor per coordinate (see ``ContextGate``).
    """

    name: Literal["final_mlp"] = "final_mlp"
    mlp1: MlpConfig = MlpConfig(hidden=(400, 400, 400))
    """The first stream, without an output layer of its own."""
    mlp2: MlpConfig = MlpConfig(hidden=(400,))
    """The second stream."""
    gated: bool = True
    """Whether the streams have feature gates at all; if not, ``gate1_context``, ``gate2_context`` and ``gate_hidden``
    are to be left out."""
    gate1_context: tuple[str, ...] = ()
    """Fields that decide the first stream's gate."""
    gate2_context: tuple[str, ...] = ()
    """Fields that decide the second stream's gate."""
    gate_hidden: Count = _GATE_HIDDEN
    """Width of each gate's hidden layer."""
    num_heads: Count = 1
    """Heads of the bilinear fusion; divides the last width of both streams."""

    @model_validator(mode="after")
    def _gates_are_there(self) -> Self:
        given = {
            "gate1_context": bool(self.gate1_context),
            "gate2_context": bool(self.gate2_context),
            "gate_hidden": self.gate_hidden != _GATE_HIDDEN,
        }
        idle = [name for name, is_given in given.items() if is_given]
        if idle and not self.gated:
            raise ValueError(f"gated is false, so {', '.join(idle)} would do nothing; leave out the one or the other")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for stream, mlp in (("mlp1", self.mlp1), ("mlp2", self.mlp2)):
            width = mlp.hidden[-1]
            if width % self.num_heads:
                fitting = [str(heads) for heads in range(1, width + 1) if width % heads == 0][:8]
                raise ValueError(
                    f"num_heads {self.num_heads} does not divide {stream}'s last width {width}; "
                    f"use {', '.join(fitting)} …"
                )
        return self

    def embeddings(self, layout: Layout) -> tuple[Embedding, ...]:
        """One embedding per field, and one more for each field of a gate's context."""
        contexts = (("gate1", self.gate1_context), ("gate2", self.gate2_context))
        extra = [Embedding(field=name, group=gate) for gate, names in contexts for name in names]
        return every_field(layout) + tuple(extra)

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return FinalMLP(self, inputs=inputs)


class FinalMLP(nn.Module):
    """``logit = fuse(MLP1(x * g1), MLP2(x * g2))``, the MLPs without output layer."""

    def __init__(self, config: FinalMLPConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.contexts = {"gate1": config.gate1_context, "gate2": config.gate2_context}
        self.gates = nn.ModuleDict()
        for name, context in self.contexts.items() if config.gated else ():
            self.gates[name] = ContextGate(
                feature_dim=inputs.flat_dim,
                context_dim=inputs.context_dim(name, context) if context else None,
                hidden_dim=config.gate_hidden,
                empty_dim=inputs.dims[inputs.order[0]],
            )
        self.mlp1 = config.mlp1.build(inputs.flat_dim)
        self.mlp2 = config.mlp2.build(inputs.flat_dim)
        self.fusion = BilinearFusion(
            self.mlp1.out_dim, self.mlp2.out_dim, num_heads=config.num_heads, num_outputs=inputs.num_labels
        )

    def forward(self, fields: Fields) -> Output:
        flat = fields.flat_for_products
        stream1 = self.mlp1(flat, self._factor(fields, gate="gate1"))
        stream2 = self.mlp2(flat, self._factor(fields, gate="gate2"))
        return Output(logits=self.fusion(stream1, stream2))

    def _factor(self, fields: Fields, *, gate: str) -> Tensor | None:
        """What a stream's gate multiplies the flat embedding by: a row's own factors, or one for all of them."""
        if gate not in self.gates:
            return None
        names = self.contexts[gate]
        context = torch.cat([fields.lookup(gate, name) for name in names], dim=1) if names else None
        module = self.gates[gate]
        assert isinstance(module, ContextGate)
        return module.factor(context)
