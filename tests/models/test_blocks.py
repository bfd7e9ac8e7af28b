"""The parts that networks share, and the networks that are little more than those parts."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import nn

from ctrgate.contracts import Fields
from ctrgate.models.auto_int import AutoInt, AutoIntConfig
from ctrgate.models.blocks import DeepAndCross, EqualWidths, MlpConfig
from ctrgate.models.deep_fm import DeepFMConfig
from ctrgate.models.fibinet import FiBiNET, FiBiNETConfig
from ctrgate.models.fm import FM
from ctrgate.models.gdcn import GDCNConfig
from ctrgate.models.inputs import Inputs
from ctrgate.models.mask_net import MaskNet, MaskNetConfig

ORDER = ("a", "b", "c")
SMALL = MlpConfig(hidden=(4,), batch_norm=False)


def inputs(**dims: int) -> Inputs:
    widths = dict.fromkeys(ORDER, 3) | dims
    return Inputs(tables=(), lookups=(), projected=(), order=ORDER, dims=widths, num_labels=1)


def fields(**dims: int) -> Fields:
    torch.manual_seed(0)
    rows = {name: torch.randn(5, dims.get(name, 3)) for name in ORDER}
    rows |= {f"linear/{name}": torch.randn(5, 1) for name in ORDER}
    return Fields(rows=rows, numbers=torch.empty(5, 0), order=ORDER)


def first_order(of: Fields) -> torch.Tensor:
    return of.rows["linear/a"] + of.rows["linear/b"] + of.rows["linear/c"]


def test_fields_of_one_width_are_stacked_without_parameters() -> None:
    equal, rows = EqualWidths(inputs()), fields()
    assert list(equal.parameters()) == []
    assert torch.equal(equal(rows), torch.stack([rows["a"], rows["b"], rows["c"]], dim=1))


def test_narrow_fields_are_projected_to_the_widest() -> None:
    equal, rows = EqualWidths(inputs(a=2, c=5)), fields(a=2, c=5)
    found = equal(rows)
    assert (equal.num_fields, equal.dim) == (3, 5)
    torch.testing.assert_close(found[:, 0], rows["a"] @ equal.projections[0].weight.T)
    assert torch.equal(found[:, 2], rows["c"])
    assert sum(p.numel() for p in equal.parameters()) == 2 * 5 + 3 * 5


def test_fm_is_weights_pairs_and_a_bias() -> None:
    net, rows = FM(inputs=inputs()), fields()
    nn.init.constant_(net.bias, 0.5)
    pairs = sum((rows[f] * rows[g]).sum(dim=1, keepdim=True) for f, g in combinations(ORDER, 2))
    torch.testing.assert_close(net(rows).logits, first_order(rows) + pairs + 0.5)


def test_deep_fm_is_fm_and_an_mlp() -> None:
    net, rows = DeepFMConfig(mlp=SMALL).build(inputs()), fields()
    torch.testing.assert_close(net(rows).logits, FM(inputs=inputs())(rows).logits + net.mlp(rows.flat))


def gdcn(*, stacked: bool, parallel: bool) -> DeepAndCross:
    config = GDCNConfig(stacked_mlp=SMALL if stacked else None, parallel_mlp=SMALL if parallel else None)
    net = config.build(inputs())
    assert isinstance(net, DeepAndCross)
    return net


def test_gcn_is_a_linear_layer_on_the_cross_net() -> None:
    net, rows = gdcn(stacked=False, parallel=False), fields()
    torch.testing.assert_close(net(rows).logits, net.output(net.cross(rows.flat)))


def test_gdcn_s_has_its_mlp_on_the_cross_net() -> None:
    net, rows = gdcn(stacked=True, parallel=False), fields()
    torch.testing.assert_close(net(rows).logits, net.output(net.stacked(net.cross(rows.flat))))


def test_gdcn_p_has_its_mlp_beside_the_cross_net() -> None:
    net, rows = gdcn(stacked=False, parallel=True), fields()
    both = torch.cat([net.cross(rows.flat), net.parallel(rows.flat)], dim=1)
    torch.testing.assert_close(net(rows).logits, net.output(both))


@pytest.mark.parametrize("structure", ["serial", "parallel"])
def test_mask_net_chains_its_blocks_or_sets_them_side_by_side(structure: str) -> None:
    net, rows = MaskNet(MaskNetConfig(structure=structure, blocks=(4, 2)), inputs=inputs()), fields()
    normed = torch.cat([nn.functional.layer_norm(rows[name], (3,)) for name in ORDER], dim=1)
    first = net.blocks[0](normed, rows.flat)
    if structure == "serial":
        last = net.blocks[1](first, rows.flat)
    else:
        last = torch.cat([first, net.blocks[1](normed, rows.flat)], dim=1)
    torch.testing.assert_close(net(rows).logits, net.output(last))


def test_auto_int_plus_adds_an_mlp_and_the_linear_term() -> None:
    config = AutoIntConfig(num_layers=2, attention_dim=4, linear=True, mlp=SMALL)
    net, rows = AutoInt(config, inputs=inputs()), fields()
    attended = net.attention[1](net.attention[0](torch.stack([rows[name] for name in ORDER], dim=1)))
    expected = net.output(attended.reshape(5, -1)) + net.mlp(rows.flat) + first_order(rows)
    torch.testing.assert_close(net(rows).logits, expected)


def test_fibinet_reads_plain_pairs_and_weighed_pairs() -> None:
    net, rows = FiBiNET(FiBiNETConfig(mlp=SMALL), inputs=inputs()), fields()
    plain = torch.stack([rows[name] for name in ORDER], dim=1)
    pairs = torch.cat([net.bilinear(plain), net.bilinear(plain * net.gate.factor(plain))], dim=1)
    torch.testing.assert_close(net(rows).logits, net.mlp(pairs.reshape(5, -1)) + first_order(rows))
