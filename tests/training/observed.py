"""What tests of the observer of gates share: small networks, their rows, and what the network sees of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctrgate.contracts import Fields
from ctrgate.features.layout import Field, Layout
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.inputs import Inputs
from ctrgate.models.network import Network, NetworkConfig
from ctrgate.models.plan import plan_inputs
from ctrgate.models.tables import TablesConfig

NAMES = ("user", "item", "price")
DIMS = {"user": 3, "item": 4, "price": 2}
STARTS = {"user": 0, "item": 3, "price": 7}
SMALL = MlpConfig(hidden=(6,), batch_norm=False)
LAYOUT = Layout(
    fields=(
        Field(name="user", kind="id", table="user"),
        Field(name="item", kind="id", table="item"),
        Field(name="price", kind="number"),
    ),
    sequences=(),
    tables={"user": 5, "item": 5},
    labels=("click",),
    roles={},
)


def build(config: NetworkConfig, *, equal: bool = False) -> tuple[Network, Inputs]:
    """A network in evaluation mode whose weights are larger than at their start; widths differ unless ``equal``."""
    tables = TablesConfig(dim=4) if equal else TablesConfig(dim=4, dims=DIMS)
    inputs = plan_inputs(LAYOUT, tables, config.embeddings(LAYOUT))
    torch.manual_seed(0)
    network = Network(config, inputs=inputs).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape) * 0.7)
    return network, inputs


def some_fields(inputs: Inputs, num_rows: int) -> Fields:
    generator = torch.Generator().manual_seed(1)
    rows = {of.name: torch.randn(num_rows, inputs.dims[of.name], generator=generator) for of in inputs.lookups}
    return Fields(rows=rows, numbers=torch.randn(num_rows, 1, generator=generator))


def cut(fields: Fields, start: int, end: int) -> Fields:
    rows = {name: values[start:end] for name, values in fields.rows.items()}
    return replace(fields, rows=rows, numbers=fields.numbers[start:end])


def everything(network: Network, fields: Fields) -> dict[str, Tensor]:
    return {**fields.rows, "price": network.projections[0](fields.numbers)}


def flat(network: Network, fields: Fields) -> NDArray[np.float64]:
    """The embedding as the network sees it, in float64."""
    price = network.projections[0](fields.numbers)
    return torch.cat([fields["user"], fields["item"], price], dim=1).detach().double().numpy()


def weights(module: nn.Module) -> NDArray[np.float64]:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach().double().numpy()


def biases(module: nn.Module) -> NDArray[np.float64]:
    assert isinstance(module.bias, Tensor)
    return module.bias.detach().double().numpy()


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def by_name(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {gate["name"]: gate for gate in summary["gates"]}
