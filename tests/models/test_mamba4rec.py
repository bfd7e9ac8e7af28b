"""Mamba4Rec: the published size, and what it is made of."""

from __future__ import annotations

import pytest
import torch

from ctrgate.layers.mamba import Mamba
from ctrgate.models.mamba4rec import Mamba4RecConfig
from ctrgate.models.network import Network
from ctrgate.models.plan import plan_inputs
from ctrgate.models.tables import DenseRule, TablesConfig
from tests.models.every_network import LAYOUT


def network(config: Mamba4RecConfig, *, dim: int) -> Network:
    torch.manual_seed(0)
    inputs = plan_inputs(LAYOUT, TablesConfig(dim=dim, rule=DenseRule()), config.embeddings(LAYOUT))
    return Network(config, inputs=inputs)


def test_it_has_the_published_number_of_parameters() -> None:
    """290,944 on MovieLens-1M (RecMamba.ipynb of SIGMA's authors): 3,417 rows of 64 and the network."""
    of_network = sum(p.numel() for p in network(Mamba4RecConfig(), dim=64).parameters())
    assert of_network + 3_417 * 64 == 290_944


@pytest.mark.parametrize("num_layers", [1, 3])
def test_its_layers_are_mambas_of_the_sizes_asked_for(num_layers: int) -> None:
    config = Mamba4RecConfig(num_layers=num_layers, state_dim=5, conv_width=2, expand=3)
    mambas = [module for module in network(config, dim=4).modules() if isinstance(module, Mamba)]
    assert len(mambas) == num_layers
    assert all(one.A_log.shape == (12, 5) and one.conv.conv.weight.shape == (12, 1, 2) for one in mambas)
    assert network(config, dim=4).spared_by_l2() == {
        f"body.encoder.layers.{place}.mixer.{name}" for place in range(num_layers) for name in ("A_log", "D")
    }
