"""Loss, L2, clipping and the unknown share, each against its plain form."""

from __future__ import annotations

import math

import pytest
import torch

from ctrgate.contracts import Batch, Ids, Output
from ctrgate.features.layout import Field, Layout
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.dnn import DNNConfig
from ctrgate.models.gmlp import GMLPConfig
from ctrgate.models.tables import DenseRule, FusedRule, TablesConfig
from ctrgate.training.loop import replace_by_unknown
from ctrgate.training.model import CtrModel, build_model
from ctrgate.training.objective import ClickObjective, click_loss, selection_loss
from ctrgate.training.optimizer import Optimizer
from ctrgate.training.selection import ContinuationConfig
from ctrgate.training.settings import TrainSettings

LAYOUT = Layout(
    fields=(Field(name="user", kind="id", table="user"), Field(name="price", kind="number")),
    sequences=(),
    tables={"user": 9},
    labels=("click",),
    roles={},
)
BATCH = Batch(
    num_rows=4,
    ids={"user": Ids(values=torch.tensor([2, 3, 0, 2]))},
    numbers=torch.tensor([[1.0], [2.0], [-1.0], [0.5]]),
    labels=torch.tensor([[1.0], [0.0], [0.0], [1.0]]),
)


def test_the_click_loss_is_worked_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-3.0, 0.5]])
    labels = torch.tensor([[1.0, 0.0], [0.0, math.nan], [1.0, 1.0]])
    weights = torch.tensor([1.0, 3.0, 2.0])

    def bce(logit: float, label: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -(label * math.log(p) + (1 - label) * math.log(1 - p))

    first = (bce(0, 1) + 3 * bce(2, 0) + 2 * bce(-3, 1)) / 6
    second = (bce(1, 0) + 2 * bce(0.5, 1)) / 3  # the missing label takes no part
    loss = click_loss(logits, labels, row_weights=weights, label_weights=torch.tensor([1.0, 0.5]))
    assert float(loss) == pytest.approx(first + 0.5 * second, rel=1e-6)


def test_a_label_that_no_row_has_costs_nothing() -> None:
    loss = click_loss(torch.zeros(2, 1), torch.full((2, 1), math.nan), row_weights=None, label_weights=torch.ones(1))
    assert float(loss) == 0.0


def test_a_networks_own_terms_are_added() -> None:
    plain = ClickObjective(torch.ones(1))(Output(logits=torch.zeros(4, 1)), BATCH)
    more = ClickObjective(torch.ones(1))(Output(logits=torch.zeros(4, 1), aux={"balance": torch.tensor(0.25)}), BATCH)
    assert float(more - plain) == pytest.approx(0.25)


def model(rule: DenseRule | FusedRule) -> CtrModel:
    config = DNNConfig(mlp=MlpConfig(hidden=(5,), batch_norm=False))
    return build_model(config, layout=LAYOUT, tables=TablesConfig(dim=4, init_std=0.5, rule=rule), seed=0)


def loss_of(trained: CtrModel) -> torch.Tensor:
    output, _ = trained(BATCH)
    return ClickObjective(torch.ones(1))(output, BATCH)


@pytest.mark.parametrize("clip_norm", [None, 0.05, 1e3])
def test_l2_is_that_of_a_loss_term_over_whole_tables_and_projections(clip_norm: float | None) -> None:
    """Three steps of ours against Adam on ``BCE + l2/2 |W|^2`` written out, clipped as a whole."""
    tables = TablesConfig(dim=4, init_std=0.5, rule=DenseRule(l2=0.3))
    settings = TrainSettings(learning_rate=0.01, network_l2=0.1, clip_norm=clip_norm)
    ours, plain = model(tables.rule), model(tables.rule)
    optimizer = Optimizer(ours, train=settings, tables=tables)
    network, table = dict(plain.network.named_parameters()), plain.lookups.dense_tables()["user"]
    adam = torch.optim.Adam([*network.values(), table], lr=0.01)
    for number in range(3):
        optimizer.step(loss_of(ours), number=number)
        adam.zero_grad()
        decayed = [table, *(p for name, p in network.items() if name.startswith("projections"))]
        other = [p for name, p in network.items() if not name.startswith("projections")]
        penalty = 0.15 * sum(p.square().sum() for p in decayed) + 0.05 * sum(p.square().sum() for p in other)
        (loss_of(plain) + penalty).backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([*network.values(), table], clip_norm)
        adam.step()
        with torch.no_grad():
            table[0] = 0.0
    for name, value in ours.network.named_parameters():
        torch.testing.assert_close(value, network[name], msg=name)
    torch.testing.assert_close(ours.lookups.dense_tables()["user"], table)
    assert table[5].norm() < model(tables.rule).lookups.dense_tables()["user"][5].norm()  # never looked up, decayed


def test_fused_tables_decay_every_n_steps() -> None:
    tables = TablesConfig(dim=4, init_std=0.5, rule=FusedRule(decay=0.25, decay_every=2))
    trained = model(tables.rule)
    optimizer = Optimizer(trained, train=TrainSettings(), tables=tables)
    (_, weight), *_ = trained.lookups.tables()
    before = weight[5].clone()
    optimizer.step(loss_of(trained), number=0)
    assert torch.equal(weight[5], before)
    optimizer.step(loss_of(trained), number=1)
    torch.testing.assert_close(weight[5], before * 0.75)


def test_the_model_tells_the_squares_of_what_it_looked_up_where_the_loss_wants_them() -> None:
    trained = model(FusedRule(l2=0.1))
    _, squares = trained(BATCH)
    (_, weight), *_ = trained.lookups.tables()
    rows = weight[BATCH.ids["user"].values]
    torch.testing.assert_close(squares, rows.square().sum())
    assert squares > 0
    for rule in (FusedRule(), DenseRule(l2=0.1)):  # the dense rule's L2 is on whole tables
        assert model(rule)(BATCH)[1] == 0


def test_the_unknown_share_replaces_real_ids_only() -> None:
    torch.manual_seed(0)
    values = torch.randint(0, 50, (20_000,))
    replaced = (
        replace_by_unknown(
            Batch(num_rows=20_000, ids={"user": Ids(values=values)}, numbers=torch.empty(20_000, 0)), share=0.1
        )
        .ids["user"]
        .values
    )
    moved = replaced != values
    assert (replaced[moved] == 1).all()
    assert not moved[values < 2].any()
    assert float(moved[values > 1].float().mean()) == pytest.approx(0.1, abs=0.01)


def test_l2_leaves_the_factors_alone_that_say_so() -> None:
    layout = Layout(
        fields=(*LAYOUT.fields, Field(name="item", kind="id", table="item")),
        sequences=(),
        tables={"user": 9, "item": 9},
        labels=("click",),
        roles={},
    )
    config = GMLPConfig(num_blocks=1, hidden_dim=4, residual="rezero")
    trained = build_model(config, layout=layout, tables=TablesConfig(dim=4, rule=DenseRule()), seed=0)
    optimizer = Optimizer(trained, train=TrainSettings(network_l2=0.5, learning_rate=0.1), tables=TablesConfig())
    with torch.no_grad():
        trained.network.body.blocks[0].residual.alpha.fill_(2.0)
        narrow = trained.network.body.blocks[0].narrow.weight.clone()
    loss = sum(parameter.sum() * 0 for parameter in trained.network.parameters())
    optimizer.step(loss, number=0)
    assert float(trained.network.body.blocks[0].residual.alpha) == 2.0
    assert not torch.equal(trained.network.body.blocks[0].narrow.weight, narrow)


def test_gates_of_values_have_a_rate_of_their_own_and_neither_l2_nor_clipping() -> None:
    select = ContinuationConfig(learning_rate=0.25)
    config = DNNConfig(mlp=MlpConfig(hidden=(5,), batch_norm=False))
    tables = TablesConfig(dim=4, init_std=0.5, rule=DenseRule(l2=0.3))
    trained = build_model(config, layout=LAYOUT, tables=tables, seed=0, select=select)
    settings = TrainSettings(network_l2=0.5, learning_rate=0.1, clip_norm=1e-3)
    optimizer = Optimizer(trained, train=settings, tables=tables, select=select)
    assert trained.gates is not None
    gate = trained.gates.by_table()["user"]
    optimizer.step(selection_loss(trained.gates, penalty=3.0), number=0)
    slope = 3.0 * math.exp(0.5) / (1 + math.exp(0.5)) ** 2
    (name,) = (name for name, parameter in optimizer.parameters.items() if parameter is gate.logits)
    gradient = optimizer.state()[name]["exp_avg"] / (1 - 0.9)
    assert all(parameter.grad is None for parameter in optimizer.parameters.values())  # not alive in the next step
    torch.testing.assert_close(gradient[1:], torch.full((8,), slope))  # of the penalty alone, unclipped
    torch.testing.assert_close(gate.logits.detach()[1:], torch.full((8,), 0.25))  # one step of Adam: its own rate
    optimizer.set_factor(0.1)
    before = gate.logits.detach().clone()
    optimizer.step(selection_loss(trained.gates, penalty=3.0), number=1)
    torch.testing.assert_close(before[1:] - gate.logits.detach()[1:], torch.full((8,), 0.025), atol=2e-3, rtol=0)
