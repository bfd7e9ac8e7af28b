"""What encoders of histories share: causality, the padding's side, empty histories, gradients, export."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ctrgate.contracts import Fields, Sequence
from ctrgate.models.gru4rec import GRU4RecConfig
from ctrgate.models.hgrn import HGRNConfig
from ctrgate.models.network import Network
from ctrgate.models.plan import plan_inputs
from ctrgate.models.sasrec import SASRecConfig
from ctrgate.models.tables import DenseRule, TablesConfig
from tests.models.every_network import LAYOUT

CONFIGS = [
    SASRecConfig(num_heads=2, dropout=0.1, max_length=9),
    SASRecConfig(positions="from_start", gate="head", num_layers=1, max_length=9),
    SASRecConfig(gate="element", hidden=3, max_length=9),
    GRU4RecConfig(num_layers=2, hidden=5),
    HGRNConfig(num_layers=3),
    HGRNConfig(num_layers=1, hidden=3),
]
CASES = pytest.mark.parametrize(
    "config", [pytest.param(config, id=f"{config.name}-{n}") for n, config in enumerate(CONFIGS)]
)
LENGTHS = [5, 1, 0, 3, 4, 2]


def network(config: object) -> Network:
    torch.manual_seed(0)
    inputs = plan_inputs(LAYOUT, TablesConfig(dim=4, rule=DenseRule()), config.embeddings(LAYOUT))
    return Network(config, inputs=inputs).eval()


def histories(*, lengths: list[int] = LENGTHS, num_events: int = 5, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Items ``(B, T, D)``, zero at padding, and the mask."""
    mask = torch.arange(num_events) < torch.tensor(lengths, dtype=torch.int64)[:, None]
    items = torch.randn(len(lengths), 9, 4, generator=torch.Generator().manual_seed(seed))[:, :num_events]
    return items * mask.unsqueeze(2), mask


class TensorsIn(torch.nn.Module):
    """A network as a function of tensors."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, items: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        fields = Fields(
            rows={},
            numbers=items.new_zeros(items.size(0), 0),
            sequences={"history": Sequence(members={"item": items}, mask=mask)},
        )
        output = self.network(fields)
        return output.queries if self.training else output.query


def without_dropout(config: object) -> object:
    return dataclasses.replace(config, dropout=0.0)


@CASES
def test_a_later_item_changes_no_earlier_query(config: object) -> None:
    trained = TensorsIn(network(without_dropout(config))).train()
    items, mask = histories()
    queries = trained(items, mask)
    for place in range(1, 5):
        changed = items.clone()
        changed[:, place] += 1.0
        found = trained(changed * mask.unsqueeze(2), mask)
        torch.testing.assert_close(found[:, :place], queries[:, :place], rtol=0, atol=0)
        assert not torch.allclose(found[0, place:], queries[0, place:])


@CASES
def test_more_padding_changes_nothing(config: object) -> None:
    trained = TensorsIn(network(without_dropout(config))).train()
    short, long = trained(*histories()), trained(*histories(num_events=9))
    torch.testing.assert_close(long[:, :5], short)
    assert not long[:, 5:].any()
    trained.eval()
    torch.testing.assert_close(trained(*histories(num_events=9)), trained(*histories()))


@CASES
def test_the_query_is_the_last_of_the_queries_and_zero_without_any_event(config: object) -> None:
    of = TensorsIn(network(without_dropout(config)))
    queries, query = of.train()(*histories()), of.eval()(*histories())
    for row, length in enumerate(LENGTHS):
        expected = queries[row, length - 1] if length else torch.zeros(4)
        torch.testing.assert_close(query[row], expected)
        assert not queries[row, length:].any()


@CASES
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], LENGTHS])
def test_any_rows_give_finite_values_and_gradients(config: object, training: bool, lengths: list[int]) -> None:
    of = TensorsIn(network(config)).train(training)
    items, mask = histories(lengths=lengths)
    items.requires_grad_()
    found = of(items, mask)
    assert found.isfinite().all()
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [items, *of.parameters()])


@CASES
def test_every_parameter_gets_a_gradient_but_the_listed_ones(config: object) -> None:
    of = TensorsIn(network(config)).train()
    (of(*histories()) * torch.randn(6, 5, 4)).sum().backward()
    still = {name for name, p in of.network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6}
    assert still == set(of.network.untrained())


@CASES
def test_a_row_is_indifferent_to_its_neighbours(config: object) -> None:
    of = TensorsIn(network(config))
    items, mask = histories()
    alone = [of(items[row : row + 1], mask[row : row + 1]) for row in range(len(items))]
    torch.testing.assert_close(of(items, mask), torch.cat(alone))


@CASES
def test_the_order_of_the_events_matters(config: object) -> None:
    of = TensorsIn(network(config))
    items, mask = histories(lengths=[5])
    assert not torch.allclose(of(items[:, [1, 0, 2, 3, 4]], mask), of(items, mask))


@CASES
def test_an_encoder_exports_with_a_free_batch_size(config: object) -> None:
    of, free = TensorsIn(network(config)), {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(of, histories(), dynamic_shapes=(free, free)).module()
    for lengths in ([3], [0], [5, 0, 1, 2, 4, 3, 1]):
        given = histories(lengths=lengths, seed=2)
        torch.testing.assert_close(program(*given), of(*given))


@CASES
def test_bf16_autocast_is_finite_and_near(config: object) -> None:
    of = TensorsIn(network(without_dropout(config)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near, trained = of(*histories()), of.train()(*histories())
    assert trained.isfinite().all()
    torch.testing.assert_close(near.float(), of.eval()(*histories()), atol=0.1, rtol=0.1)
