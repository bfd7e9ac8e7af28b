"""FinalNet: blocks of factorized layers, the first behind a field gate, taught by their own mean."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from ctrgate.config import settings
from ctrgate.contracts import Fields, Output
from ctrgate.layers.factorized import FactorizedMlp
from ctrgate.layers.gates import LinearFieldGate
from ctrgate.layers.linear import xavier_linear
from ctrgate.models.blocks import EqualWidths, MlpConfig
from ctrgate.models.inputs import EveryField, Inputs


@settings
class FinalNetConfig(EveryField):
    """``logit = A1 B1([x, x * g]) + a1`` (1B), or the mean of that and ``A2 B2(x) + a2`` (2B) (Zhu et al., SIGIR 2023).

    With two blocks, training adds ``sum_i BCE(logit_i, sigmoid(logit))``, the teacher held fixed: averaged over the
    batch's rows without weights and missing labels, which it does not need.
    """

    name: Literal["final_net"] = "final_net"
    gated: bool = True
    """Whether the first block reads the fields and, beside them, the gated fields; else the fields alone."""
    residual: Literal["concat", "sum"] = "concat"
    """How a layer joins its second half to the product of both."""
    block1: MlpConfig = MlpConfig(hidden=(400, 400))
    """The first block; its MLP's layers are factorised interactions."""
    block2: MlpConfig | None = MlpConfig(hidden=(400,))
    """The second block, on the plain fields; null for 1B."""

    @model_validator(mode="after")
    def _halves(self) -> Self:
        blocks = {"block1": self.block1} | ({"block2": self.block2} if self.block2 else {})
        odd = [f"{name}.hidden {width}" for name, block in blocks.items() for width in block.hidden if width % 2]
        if odd and self.residual == "concat":
            raise ValueError(f"{', '.join(odd)}: the concat residual needs even widths, as each layer is cut in two")
        return self

    def build(self, inputs: Inputs) -> nn.Module:
        """The network."""
        return FinalNet(self, inputs=inputs)


class FinalNet(nn.Module):
    """One or two blocks, each with an output layer."""

    def __init__(self, config: FinalNetConfig, *, inputs: Inputs) -> None:
        super().__init__()
        self.equal = EqualWidths(inputs)
        width = self.equal.num_fields * self.equal.dim
        self.gate = LinearFieldGate(self.equal.num_fields) if config.gated else None
        blocks = [(config.block1, 2 * width if config.gated else width)]
        blocks += [(config.block2, width)] if config.block2 else []
        self.blocks = nn.ModuleList(
            FactorizedMlp(
                input_dim,
                hidden_dims=block.hidden,
                activation=block.plain_activation,
                dropout=block.dropout,
                batch_norm=block.batch_norm,
                residual=config.residual,
            )
            for block, input_dim in blocks
        )
        self.outputs = nn.ModuleList(xavier_linear(block.hidden[-1], inputs.num_labels) for block, _ in blocks)

    def forward(self, fields: Fields) -> Output:
        plain = self.equal(fields)
        gated = plain if self.gate is None else torch.cat([plain, self.gate(plain)], dim=1)
        logits = [
            output(block(rows.flatten(1)))
            for output, block, rows in zip(self.outputs, self.blocks, (gated, plain), strict=False)
        ]
        mean = torch.stack(logits).mean(dim=0)
        return Output(logits=mean, aux={"distillation": distillation(logits)} if self.training and logits[1:] else {})


def distillation(logits: list[Tensor]) -> Tensor:
    """``sum_i BCE(logit_i, sigmoid(mean of logits))``, mean over rows, sum over labels; no gradient to the mean.

    Shape:
        - logits: each ``(B, L)``
        - returns: scalar
    """
    student = torch.stack(logits).float()
    teacher = torch.sigmoid(student.mean(dim=0)).detach().expand_as(student)
    losses = functional.binary_cross_entropy_with_logits(student, teacher, reduction="none")
    return losses.sum(dim=(0, 2)).mean()
