"""Numbers of parameters beside the published ones."""

from __future__ import annotations

import pytest

from ctrgate.features.layout import Field, Layout
from ctrgate.models.auto_int import AutoIntConfig
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.dcn import DCNConfig
from ctrgate.models.dcn_v2 import DCNv2Config
from ctrgate.models.deep_fm import DeepFMConfig
from ctrgate.models.fibinet import FiBiNETConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from ctrgate.models.final_net import FinalNetConfig
from ctrgate.models.fm import FMConfig
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.mask_net import MaskNetConfig
from ctrgate.models.network import NetworkConfig
from ctrgate.models.tables import DenseRule, TablesConfig
from ctrgate.training.model import build_model

THREE = MlpConfig(hidden=(400, 400, 400))


def count(config: NetworkConfig, *, num_rows: int, num_fields: int = 10, dim: int = 10) -> int:
    """Parameters of a network over fields that share ``num_rows`` rows somehow."""
    rows = {f"field_{number}": 2 for number in range(num_fields - 1)}
    return count_for(config, rows={**rows, "last": num_rows - 2 * (num_fields - 1)}, dim=dim)


def count_for(config: NetworkConfig, *, rows: dict[str, int], dim: int = 10) -> int:
    """Parameters of a network over fields with these numbers of rows."""
    layout = Layout(
        fields=tuple(Field(name=name, kind="id", table=name) for name in rows),
        sequences=(),
        tables=rows,
        labels=("label",),
        roles={},
    )
    return build_model(config, layout=layout, tables=TablesConfig(dim=dim, rule=DenseRule()), seed=0).num_parameters


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (FMConfig(), 59_280),
        (DeepFMConfig(mlp=THREE), 423_280),
        (DCNConfig(num_cross_layers=3, parallel_mlp=THREE), 418_591),
        (DCNv2Config(num_cross_layers=4, parallel_mlp=THREE), 458_391),
        (
            MaskNetConfig(
                blocks=(50, 50, 50),
                mask_ratio=2,
                embedding_norm=False,
                mlp=MlpConfig(hidden=(400, 400, 400), batch_norm=False),
            ),
            571_691,
        ),
        (AutoIntConfig(num_layers=6, attention_dim=128, num_heads=4, scaled=False), 306_051),
        (AutoIntConfig(num_layers=5, attention_dim=128, num_heads=4, layer_norm="before", mlp=THREE), 622_180),
        (FiBiNETConfig(bilinear="all", reduction=2, mlp=THREE), 743_480),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_the_networks_of_bars_on_frappe_have_the_published_number_of_parameters(
    config: NetworkConfig, published: int
) -> None:
    """BARS, frappe_x1, logged with FuxiCTR v1, whose vocabularies have 5,389 rows."""
    assert count(config, num_rows=5_389) == published


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (FinalNetConfig(block1=MlpConfig(hidden=(400, 400)), block2=MlpConfig(hidden=(400,))), 338_502),
        (FinalNetConfig(block1=MlpConfig(hidden=(400, 400)), block2=None, gated=False), 256_791),
    ],
    ids=["2B", "1B"],
)
def test_final_net_on_frappe_has_the_published_number_of_parameters(config: FinalNetConfig, published: int) -> None:
    """BARS, frappe_x1, logged with FuxiCTR 2, whose vocabularies have 5,399 rows."""
    assert count(config, num_rows=5_399) == published


def test_gcn_on_criteo_has_the_published_number_of_parameters() -> None:
    """19.73 M (GDCN, CIKM 2023): 1,086,810 rows of width 16, three gated cross layers on 39 fields, a linear head."""
    assert count(GDCNConfig(num_cross_layers=3), num_rows=1_086_810, num_fields=39, dim=16) == 19_727_713


def test_final_mlp_on_frappe_has_the_published_number_of_parameters() -> None:
    """253,392 (BARS, frappe_x1), logged with FuxiCTR v2: 5,399 rows, those of user and item twice for the gates."""
    rows = {
        "user": 956, "item": 4084, "daytime": 9, "weekday": 9, "isweekend": 4,
        "homework": 5, "cost": 4, "weather": 11, "country": 82, "city": 235,
    }  # fmt: skip
    network = FinalMLPConfig(
        mlp1=MlpConfig(hidden=(400,)),
        mlp2=MlpConfig(hidden=(100,)),
        gate1_context=("user",),
        gate2_context=("item",),
        gate_hidden=400,
        num_heads=5,
    )
    assert count_for(network, rows=rows) == 253_392


def test_final_mlp_without_contexts_has_the_published_number_of_parameters() -> None:
    """1,040,902 (BARS, movielenslatest_x1): 90,242 rows in three fields, empty contexts."""
    network = FinalMLPConfig(
        mlp1=MlpConfig(hidden=(400,)), mlp2=MlpConfig(hidden=(800,)), gate_hidden=800, num_heads=10
    )
    assert count(network, num_rows=90_242, num_fields=3) == 1_040_902
