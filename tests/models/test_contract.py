"""What every network must hold, checked for each one in the union without being told its name."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ctrgate.contracts import Batch, Ids
from ctrgate.models.network import task_of
from ctrgate.models.tables import DenseRule, FusedRule, TablesConfig
from ctrgate.training.model import build_model
from ctrgate.training.selection import ContinuationConfig
from tests.models.every_network import CASES, CLICK, LAYOUT, answer, batch, changed, model


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("num_rows", [0, 1, 7])
@pytest.mark.parametrize("rule", [DenseRule(), FusedRule()], ids=["dense", "fused"])
def test_evaluation_is_finite_for_any_number_of_rows(
    config: object, num_rows: int, rule: DenseRule | FusedRule
) -> None:
    evaluated = model(config, rule=rule).eval()
    with torch.no_grad():
        output, _ = evaluated(batch(num_rows))
    found = output.logits if task_of(config) == "click" else output.query
    assert found.shape == (num_rows, 1 if task_of(config) == "click" else 4)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert output.queries is None
    assert output.aux == {}


@pytest.mark.parametrize("config", CASES)
def test_a_row_is_indifferent_to_its_neighbours(config: object) -> None:
    evaluated = model(config).eval()
    rows = batch(7)
    alone = [
        Batch(
            num_rows=1,
            ids={name: _row(ids, i) for name, ids in rows.ids.items()},
            numbers=rows.numbers[i : i + 1],
            vectors={name: part[i : i + 1] for name, part in rows.vectors.items()},
            sequence_numbers={
                "history/ago": rows.sequence_numbers["history/ago"][_entries(rows.ids["history/item"], i)]
            },
        )
        for i in range(7)
    ]
    with torch.no_grad():
        together = answer(evaluated, rows)
        single = torch.cat([answer(evaluated, one) for one in alone])
    torch.testing.assert_close(together, single)


def _row(ids: Ids, row: int) -> Ids:
    if ids.lengths is None:
        return Ids(values=ids.values[row : row + 1])
    return Ids(values=ids.values[_entries(ids, row)], lengths=ids.lengths[row : row + 1])


def _entries(ids: Ids, row: int) -> slice:
    start = int(ids.lengths[:row].sum())
    return slice(start, start + int(ids.lengths[row]))


@pytest.mark.parametrize("config", CASES)
def test_every_parameter_gets_a_gradient_but_the_listed_ones(config: object) -> None:
    trained = model(config).train()
    for seed in range(3):
        found = answer(trained, batch(50, seed=seed))
        (found * torch.randn(found.shape)).sum().backward()
    names = {f"network.{name}": p for name, p in trained.network.named_parameters()}
    names |= {f"table.{name}": p for name, p in trained.lookups.dense_tables().items()}
    still = {name for name, p in names.items() if p.grad is None or not p.grad.any()}
    assert still == {f"network.{name}" for name in trained.network.untrained()}


@pytest.mark.parametrize("config", CASES)
def test_new_value_gates_change_nothing_and_a_dropped_value_is_what_padding_is(config: object) -> None:
    tables = TablesConfig(dim=4, init_std=0.1, rule=DenseRule())
    gated = build_model(config, layout=LAYOUT, tables=tables, seed=0, select=ContinuationConfig()).eval()
    rows = batch(20)
    with torch.no_grad():
        torch.testing.assert_close(answer(gated, rows), answer(model(config).eval(), rows))
        assert gated.gates is not None
        for gate in gated.gates.by_table().values():
            gate.logits[3:] = -1.0
        gated.gates.close()
        without = {
            name: dataclasses.replace(ids, values=ids.values.masked_fill(ids.values >= 3, 0))
            for name, ids in rows.ids.items()
        }
        torch.testing.assert_close(answer(gated, rows), answer(gated, changed(rows, ids=without)))


@pytest.mark.parametrize("config", CLICK)
def test_every_field_bears_on_the_logit(config: object) -> None:
    evaluated = model(config).eval()
    rows = batch(40)
    with torch.no_grad():
        before = answer(evaluated, rows)
        for name in ("user", "item", "tags"):
            ids = rows.ids[name]
            moved = Ids(values=(ids.values + 1) % LAYOUT.tables[name], lengths=ids.lengths)
            assert not torch.equal(answer(evaluated, changed(rows, ids={**rows.ids, name: moved})), before), name
        assert not torch.equal(answer(evaluated, changed(rows, numbers=rows.numbers + 1)), before)
        assert not torch.equal(answer(evaluated, changed(rows, vectors={"image": rows.vectors["image"] + 1})), before)


@pytest.mark.parametrize("config", CLICK)
def test_several_labels_give_several_logits(config: object) -> None:
    layout = dataclasses.replace(LAYOUT, labels=("click", "buy"))
    assert answer(model(config, layout=layout).eval(), batch(3)).shape == (3, 2)


@pytest.mark.parametrize("config", CLICK)
def test_fields_may_differ_in_width(config: object) -> None:
    uneven = model(config, dims={"user": 7, "price": 2, "tags": 1}).train()
    found = answer(uneven, batch(50))
    assert found.shape == (50, 1)
    assert found.isfinite().all()
    found.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in uneven.lookups.dense_tables().values())


@pytest.mark.parametrize("config", CASES)
def test_the_seed_decides_every_weight(config: object) -> None:
    torch.manual_seed(5)
    first = model(config).state_dict()
    torch.manual_seed(6)
    second = model(config).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
