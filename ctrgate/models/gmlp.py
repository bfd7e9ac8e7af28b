"""gMLP over fields: blocks in which a gate mixes fields, where others attend."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.layers.gated_units import SpatialGate
from ctrgate.layers.linear import xavier_linear
from ctrgate.layers.residual import Highway, ReZero
from ctrgate.models.blocks import EqualWidths
from ctrgate.models.inputs import EveryField, Inputs
from ctrgate.ranges import Count


@settings
class GMLPConfig(EveryField):
    """``x' = x + V (u * (W LN(v) + b))`` with ``[u, v] = gelu(U LN(x))`` (Liu et al., NeurIPS 2021, arXiv 2105.08050).

    Fields stand where the paper has tokens; the logit is linear in the last block's fields (ours).
    """

    name: Literal["gmlp"] = "gmlp"
    num_blocks: Count = 3
    """Blocks, each with its gate over fields."""
    hidden_dim: Count = 64
    """Width of u and of v."""
    residual: Literal["plain", "rezero", "highway"] = "plain"
    """What stands between a block and the connection that skips it; the paper's is plain."""

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return GMLP(self, inputs=inputs)


class GMLP(nn.Module):
    """Blocks, a layer norm, and an output layer on all fields."""

    def __init__(self, config: GMLPConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        num_fields, dim = self.equal.num_fields, self.equal.dim
        self.blocks = nn.Sequential(*(_Block(config, num_fields=num_fields, dim=dim) for _ in range(config.num_blocks)))
        self.norm = nn.LayerNorm(dim)
        self.output = xavier_linear(num_fields * dim, inputs.num_labels)

    def forward(self, fields: Fields) -> Output:
        return Output(logits=self.output(self.norm(self.blocks(self.equal(fields))).flatten(1)))


class _Block(nn.Module):
    """``(B, F, D)`` to the same."""

    def __init__(self, config: GMLPConfig, *, num_fields: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.widen = xavier_linear(dim, 2 * config.hidden_dim)
        self.gate = SpatialGate(num_fields, 2 * config.hidden_dim)
        self.narrow = xavier_linear(config.hidden_dim, dim)
        self.residual: ReZero | Highway | None = None
        if config.residual != "plain":
            self.residual = ReZero() if config.residual == "rezero" else Highway(dim)

    def forward(self, fields: Tensor) -> Tensor:
        block = self.narrow(self.gate(functional.gelu(self.widen(self.norm(fields)))))
        result: Tensor = fields + block if self.residual is None else self.residual(fields, block)
        return result

    def untrained(self) -> dict[str, str]:
        """Parameters that get no gradient, with the reason."""
        if not isinstance(self.residual, ReZero) or self.residual.alpha != 0:
            return {}
        names = [name for name, _ in self.named_parameters() if name != "residual.alpha"]
        return dict.fromkeys(names, "in the first step ReZero multiplies the block by zero")
