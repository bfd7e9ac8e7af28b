"""Every kind of lookup, through TorchRec and through its torch-only twin."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from ctrgate.artifact.lookup import TableLookup
from ctrgate.artifact.rows import restored, store
from ctrgate.contracts import Batch, Fields, Ids, Lookup, TableSpec
from ctrgate.lookups.collection import Lookups

FUSED = {"lr": 0.1, "eps": 1e-8}


def spec(name: str, *, dim: int, rule: str) -> TableSpec:
    return TableSpec(name=name, num_rows=9, dim=dim, rule=rule, init_std=1.0)


TABLES = {
    "user": 4,
    "type": 3,  # the name of a module's method, and a width that fused kernels refuse
    "a.b": 1,  # a dot, which module names may not hold
    "tags": 5,
    "item": 6,
    "gate/item": 6,
}

LOOKUPS = (
    Lookup(name="user", column="user", table="user"),
    Lookup(name="friend", column="friend", table="user"),
    Lookup(name="type", column="type", table="type"),
    Lookup(name="a.b", column="a.b", table="a.b"),
    Lookup(name="tags", column="tags", table="tags", pooling="mean"),
    Lookup(name="tags_sum", column="tags", table="tags", pooling="sum"),
    Lookup(name="liked", column="liked", table="tags", pooling="mean", weighted=True),
    Lookup(name="liked_sum", column="liked", table="tags", pooling="sum", weighted=True),
    Lookup(name="history/item", column="history", table="item", pooling="none", sequence="history", max_length=4),
    Lookup(name="history/other", column="others", table="item", pooling="none", sequence="history", max_length=4),
    Lookup(name="item", column="item", table="item"),
    Lookup(name="recent", column="history", table="item", pooling="mean"),
    Lookup(name="recent_liked", column="liked", table="item", pooling="mean", weighted=True),
    Lookup(name="gate/item", column="item", table="gate/item"),
)


def bag(*rows: list[int], weights: list[float] | None = None) -> Ids:
    return Ids(
        values=torch.tensor([value for row in rows for value in row], dtype=torch.int64),
        lengths=torch.tensor([len(row) for row in rows]),
        weights=None if weights is None else torch.tensor(weights),
    )


BATCH = Batch(
    num_rows=3,
    ids={
        "user": Ids(values=torch.tensor([2, 8, 1])),
        "friend": Ids(values=torch.tensor([2, 2, 3])),
        "type": Ids(values=torch.tensor([0, 3, 4])),
        "a.b": Ids(values=torch.tensor([1, 2, 2])),
        "tags": bag([2, 3, 3], [], [0, 5]),
        "liked": bag([4], [], [5, 6, 2], weights=[0.5, 1.0, -2.0, 3.0]),
        "history": bag([3, 4, 5, 6], [], [7]),
        "others": bag([2, 2, 2, 3], [], [8]),
        "item": Ids(values=torch.tensor([3, 3, 0])),
    },
    numbers=torch.tensor([[1.0], [2.0], [3.0]]),
)


def naive(tables: dict[str, torch.Tensor], lookup: Lookup) -> torch.Tensor:
    """One row at a time, as the contract words it."""
    ids = BATCH.ids[lookup.column]
    lengths = [1] * BATCH.num_rows if ids.lengths is None else ids.lengths.tolist()
    weights = ids.weights if lookup.weighted else None
    result, place = [], 0
    for length in lengths:
        vectors = [tables[lookup.table][int(i)] for i in ids.values[place : place + length]]
        factors = [1.0] * length if weights is None else weights[place : place + length].tolist()
        place += length
        dim = tables[lookup.table].size(1)
        if lookup.pooling == "none":
            result.append(torch.stack(vectors + [torch.zeros(dim)] * (lookup.max_length - length)))
            continue
        total = sum((f * v for f, v in zip(factors, vectors, strict=True)), torch.zeros(dim))
        divisor = sum(factors) if lookup.pooling == "mean" and length and sum(factors) else 1.0
        result.append(total / divisor)
    return torch.stack(result)


def gated() -> Batch:
    """The batch with a factor for each id, the same for the same id."""
    factors = {name: torch.linspace(-1.0, 2.0, 9)[ids.values].requires_grad_() for name, ids in BATCH.ids.items()}
    ids = {name: replace(of, factors=factors[name]) for name, of in BATCH.ids.items()}
    return replace(BATCH, ids=ids)


def found(fields: Fields, lookup: Lookup) -> torch.Tensor:
    if lookup.pooling == "none":
        return fields.sequence(lookup.sequence)[lookup.name.removeprefix(f"{lookup.sequence}/")]
    return fields.rows[lookup.name]


def lookups(rule: str, *, seed: int = 0, gated: bool = False) -> Lookups:
    tables = [spec(name, dim=dim, rule=rule) for name, dim in TABLES.items()]
    return Lookups(tables, LOOKUPS, fused=FUSED, seed=seed, gated=gated)


def _named(module: Lookups) -> dict[str, torch.Tensor]:
    return {table.name: weight for table, weight in module.tables()}


def logical(module: Lookups) -> dict[str, torch.Tensor]:
    return {table.name: weight[:, : table.dim].clone() for table, weight in module.tables()}


@pytest.mark.parametrize("rule", ["fused", "dense"])
@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.name)
def test_training_and_serving_lookups_equal_the_naive_form(rule: str, lookup: Lookup) -> None:
    module = lookups(rule)
    tables = logical(module)
    expected = naive(tables, lookup)
    twin = TableLookup(tables, LOOKUPS)
    torch.testing.assert_close(found(module(BATCH), lookup).detach(), expected)
    torch.testing.assert_close(found(twin(BATCH), lookup), expected)


@pytest.mark.parametrize("form", ["float16", "int8"])
@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.name)
def test_rounded_rows_are_looked_up_as_what_they_stand_for(form: str, lookup: Lookup) -> None:
    wide = {name: torch.cat([rows] * 5, dim=1) for name, rows in logical(lookups("dense")).items()}
    stored = {name: store(rows, form, table=name) for name, rows in wide.items()}
    twin = TableLookup(stored, LOOKUPS)
    expected = naive({name: restored(rows) for name, rows in stored.items()}, lookup)
    torch.testing.assert_close(found(twin(BATCH), lookup), expected)
    assert twin.dim(lookup.table) == 5 * TABLES[lookup.table]


@pytest.mark.parametrize("rule", ["fused", "dense"])
@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda lookup: lookup.name)
def test_factors_of_ids_are_those_of_rows_and_get_their_gradient(rule: str, lookup: Lookup) -> None:
    module = lookups(rule, gated=True)
    tables = {name: rows.requires_grad_() for name, rows in logical(module).items()}
    factor = torch.linspace(-1.0, 2.0, 9).requires_grad_()
    expected = naive({name: rows * factor.unsqueeze(1) for name, rows in tables.items()}, lookup)
    batch = gated()
    looked_up = found(module(batch), lookup)
    torch.testing.assert_close(looked_up, expected)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (expected * weights).sum().backward()
    (looked_up * weights).sum().backward()
    ids = batch.ids[lookup.column]
    assert ids.factors is not None
    by_id = torch.zeros(9).index_add(0, ids.values, ids.factors.grad)
    torch.testing.assert_close(by_id, factor.grad)


@pytest.mark.parametrize("rule", ["fused", "dense"])
def test_masks_numbers_and_padding_are_the_contracts(rule: str) -> None:
    fields = lookups(rule)(BATCH)
    expected = torch.tensor([[True] * 4, [False] * 4, [True, False, False, False]])
    assert torch.equal(fields.sequence("history").mask, expected)
    assert torch.equal(fields.numbers, BATCH.numbers)
    assert fields["type"].shape == (3, 3)
    assert torch.equal(fields["type"][0], torch.zeros(3))  # row 0 is zero from the start


def test_a_fused_step_is_row_wise_adagrad_on_every_looked_up_row() -> None:
    module = lookups("fused")
    before = logical(module)
    target = {lookup.name: torch.randn_like(found(module(BATCH), lookup)) for lookup in LOOKUPS}
    fields = module(BATCH)
    sum((found(fields, lookup) * target[lookup.name]).sum() for lookup in LOOKUPS).backward()
    after = logical(module)
    for table, dim in TABLES.items():
        weight = before[table].clone().requires_grad_()
        loss = sum((naive({**before, table: weight}, k) * target[k.name]).sum() for k in LOOKUPS if k.table == table)
        loss.backward()
        stored = -(-dim // 4) * 4
        sums = weight.grad.square().sum(1) / stored  # the padded columns count in the mean over the row
        expected = before[table] - FUSED["lr"] * weight.grad / (sums.sqrt() + FUSED["eps"]).unsqueeze(1)
        torch.testing.assert_close(after[table], torch.where(sums[:, None] > 0, expected, before[table]), msg=table)


def test_stored_columns_beyond_the_width_stay_zero_and_padding_is_zeroed_again() -> None:
    module = lookups("fused")
    for _ in range(3):
        fields = module(BATCH)
        sum(rows.square().sum() + rows.sum() for rows in fields.rows.values()).backward()
    moved = {table.name: weight for table, weight in module.tables()}
    assert moved["type"][0].abs().sum() > 0  # a looked-up row 0 moves …
    module.zero_padding()
    for table, weight in module.tables():
        assert weight[:, table.dim :].abs().sum() == 0
        assert weight[0].abs().sum() == 0  # … and is put back


def test_dense_tables_get_gradients_and_fused_ones_none() -> None:
    dense, fused = lookups("dense"), lookups("fused")
    for module in (dense, fused):
        fields = module(BATCH)
        sum(found(fields, lookup).square().sum() for lookup in LOOKUPS).backward()
    assert set(dense.dense_tables()) == set(TABLES)
    assert all(weight.grad is not None for weight in dense.dense_tables().values())
    assert fused.dense_tables() == {}


def test_a_table_starts_the_same_whatever_stands_beside_it() -> None:
    both = _named(lookups("dense"))
    alone = Lookups([spec("type", dim=3, rule="fused")], [LOOKUPS[2]], fused=FUSED, seed=0)
    assert torch.equal(_named(alone)["type"][:, :3], both["type"])
    other = _named(lookups("dense", seed=1))
    assert not torch.equal(other["type"], both["type"])


def test_the_learning_rate_can_be_changed() -> None:
    module = lookups("fused")
    module.set_learning_rate(0.0)
    before = logical(module)
    fields = module(BATCH)
    sum(found(fields, lookup).sum() for lookup in LOOKUPS).backward()
    for name, weight in logical(module).items():
        assert torch.equal(weight, before[name]), name


def test_dropout_acts_in_training_only() -> None:
    module = Lookups([spec("user", dim=4, rule="dense")], [LOOKUPS[0]], fused=FUSED, seed=0, dropout=0.5)
    kept = logical(module)["user"][BATCH.ids["user"].values]
    torch.manual_seed(0)
    dropped = module(BATCH)["user"]
    assert ((dropped == 0) | torch.isclose(dropped, 2 * kept)).all()
    assert (dropped == 0).any()
    assert torch.equal(module.eval()(BATCH)["user"], kept)


def test_both_rules_serve_tables_of_any_width() -> None:
    for dim, rule in itertools.product((1, 2, 3, 4, 5, 10, 16), ("fused", "dense")):
        module = Lookups([spec("user", dim=dim, rule=rule)], [LOOKUPS[0]], fused=FUSED, seed=0)
        assert module(BATCH)["user"].shape == (3, dim)


@pytest.mark.parametrize("rule", ["fused", "dense"])
@pytest.mark.parametrize("order", [("a", "b", "c"), ("b", "c", "a"), ("n", "a", "b", "c")])
@pytest.mark.parametrize(("dim", "dropout"), [(8, 0.0), (8, 0.5), (6, 0.0)])
def test_fields_side_by_side_are_the_fields_one_by_one(
    rule: str, order: tuple[str, ...], dim: int, dropout: float
) -> None:
    tables = [spec(name, dim=dim, rule=rule) for name in "abc"]
    reads = [Lookup(name=name, column=name, table=name) for name in "abc"]
    ids = {name: Ids(values=torch.tensor([2, 8, 1])) for name in "abc"}
    looked_up = Lookups(tables, reads, fused=FUSED, seed=1, dropout=dropout)
    fields = looked_up(Batch(num_rows=3, ids=ids, numbers=torch.empty(3, 0)))
    together = not dropout and (dim == 8 or rule == "dense")
    assert len(fields.blocks) == together
    fields = replace(fields, rows={**fields.rows, "n": torch.ones(3, dim)}, order=order)
    assert torch.equal(fields.flat, torch.cat([fields[name] for name in order], dim=1))
