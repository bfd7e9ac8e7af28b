"""What every network must hold, checked for each one in the union without being told its name."""

from __future__ import annotations

import dataclasses
import shutil
import types
import typing
from pathlib import Path

import pytest
import torch

import ctrgate.models
from ctrgate.artifact.compiled import compile_network, open_compiled
from ctrgate.artifact.forms import RowForm
from ctrgate.artifact.lookup import TableLookup
from ctrgate.artifact.rows import form_of, restored, store
from ctrgate.config import load, settings
from ctrgate.contracts import Batch, Fields, Ids, Sequence
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup
from ctrgate.files import checksum
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.inputs import DenseRule, FusedRule, TablesConfig
from ctrgate.models.registry import ModelConfig
from ctrgate.training.model import CtrModel, build_model
from ctrgate.training.selection import ContinuationConfig

CONFIGS = typing.get_args(typing.get_args(ModelConfig)[0])
ROOT = Path(__file__).parents[2]
SMALL = MlpConfig(hidden=(8, 6))
LAYOUT = Layout(
    fields=(
        Field(name="user", kind="id", table="user"),
        Field(name="item", kind="id", table="item"),
        Field(name="price", kind="number"),
        Field(name="tags", kind="bag", table="tags", pooling="mean"),
        Field(name="image", kind="vector", width=5),
    ),
    sequences=(
        SequenceGroup(
            name="history",
            members=(
                Member(name="item", column="history/item", table="item"),
                Member(name="tag", column="history/tag", table="tags"),
                Member(name="ago", column="history/ago"),
            ),
            max_length=4,
        ),
    ),
    tables={"user": 11, "item": 13, "tags": 7},
    labels=("click",),
    roles={},
)


def choices(hint: object) -> list[object]:
    """What a setting may be, where its type has few values: literals, switches, parts that may be absent or differ."""
    if typing.get_origin(hint) is typing.Annotated and hasattr(hint, "__metadata__"):
        kinds = typing.get_args(typing.get_args(hint)[0])
        if kinds and all(dataclasses.is_dataclass(kind) for kind in kinds):
            return [kind() for kind in kinds]
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if hint is bool:
        return [True, False]
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    absent = [None] if types.NoneType in parts else []
    kinds = [(typing.get_args(part) or (part,))[0] for part in parts]  # int of Annotated[int, ...]
    return absent + [SMALL for kind in kinds if kind is MlpConfig] + [2 for kind in kinds if absent and kind is int]


def variants(config: type) -> list[object]:
    """A small form of a network's settings, and one for each other value of each setting that has few."""
    hints = {name: hint for name, hint in typing.get_type_hints(config, include_extras=True).items() if name != "name"}
    base = {name: SMALL for name, hint in hints.items() if SMALL in choices(hint)}
    if "reduction" in hints:
        base["reduction"] = 1.0  # of five fields the default leaves one unit between two ReLUs, dead on some starts
    bare = {name: None for name, hint in hints.items() if None in choices(hint)}
    found = [config(**base), config(**{**base, **bare})]
    for name, hint in hints.items():
        found += [config(**{**base, name: value}) for value in choices(hint)]
    if "gate1_context" in hints:
        contexts = {"gate1_context": ("user", "price", "image"), "gate2_context": ("item", "tags")}
        found.append(config(**base, **contexts, num_heads=2, gate_hidden=5))
    if "gate_context" in hints:
        found.append(config(**base, gate_context=("user", "price", "tags")))
    return [one for place, one in enumerate(found) if one not in found[:place]]


def task(config: object) -> str:
    """What a network is for: it says so where that is not clicks."""
    return getattr(config, "task", "click")


CASES = [pytest.param(v, id=f"{c.__name__}-{n}") for c in CONFIGS for n, v in enumerate(variants(c))]
CLICK = [case for case in CASES if task(case.values[0]) == "click"]
NEXT_ITEM = [case for case in CASES if task(case.values[0]) == "next_item"]


def batch(num_rows: int, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 4, (num_rows,), generator=generator)
    past = torch.randint(0, 5, (num_rows,), generator=generator)
    events = int(past.sum())
    return Batch(
        num_rows=num_rows,
        ids={
            "user": Ids(values=torch.randint(0, 11, (num_rows,), generator=generator)),
            "item": Ids(values=torch.randint(1, 13, (num_rows,), generator=generator)),
            "tags": Ids(values=torch.randint(0, 7, (int(lengths.sum()),), generator=generator), lengths=lengths),
            "history/item": Ids(values=torch.randint(1, 13, (events,), generator=generator), lengths=past),
            "history/tag": Ids(values=torch.randint(1, 7, (events,), generator=generator), lengths=past),
        },
        numbers=torch.randn(num_rows, 1, generator=generator),
        vectors={"image": torch.randn(num_rows, 5, generator=generator)},
        labels=torch.randint(0, 2, (num_rows, 1), generator=generator).float(),
    )


def model(
    config: object,
    *,
    layout: Layout = LAYOUT,
    rule: DenseRule | FusedRule | None = None,
    dim: int = 4,
    dims: dict[str, int] | None = None,
) -> CtrModel:
    tables = TablesConfig(dim=dim, dims=dims or {}, init_std=0.1, rule=rule or DenseRule())
    return build_model(config, layout=layout, tables=tables, seed=0)


def answer(of: CtrModel, rows: Batch) -> torch.Tensor:
    """What a network says of rows: logits ``(B, L)``, or queries ``(B, D)``."""
    output, _ = of(rows)
    return output.query if output.logits is None else output.logits


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("num_rows", [0, 1, 7])
@pytest.mark.parametrize("rule", [DenseRule(), FusedRule()], ids=["dense", "fused"])
def test_evaluation_is_finite_for_any_number_of_rows(
    config: object, num_rows: int, rule: DenseRule | FusedRule
) -> None:
    evaluated = model(config, rule=rule).eval()
    with torch.no_grad():
        output, _ = evaluated(batch(num_rows))
    found = output.logits if task(config) == "click" else output.query
    assert found.shape == (num_rows, 1 if task(config) == "click" else 4)
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
    start = int(ids.lengths[:row].sum())
    return Ids(values=ids.values[start : start + int(ids.lengths[row])], lengths=ids.lengths[row : row + 1])


@pytest.mark.parametrize("config", [case for case in CASES if case.id.endswith("-0")])
@pytest.mark.parametrize("form", ["float16", "int8"])
def test_rounded_rows_serve_every_network_and_move_its_answer_little(config: object, form: RowForm) -> None:
    trained = model(config, dim=12).eval()
    rows = {spec.name: weight.detach() for spec, weight in trained.lookups.tables()}
    stored = {name: store(of, form, table=name) for name, of in rows.items()}
    assert {form_of(of) for of in stored.values()} <= {"float16", form}
    with torch.no_grad():
        exact, rounded, whole = (
            trained.network(TableLookup(tables, trained.lookups.lookups)(batch(50)))
            for tables in (rows, stored, {name: restored(of) for name, of in stored.items()})
        )
    exact, rounded, whole = (of.query if of.logits is None else of.logits for of in (exact, rounded, whole))
    torch.testing.assert_close(rounded, whole)
    assert 0 < (rounded - exact).abs().mean() < 0.02 * exact.abs().mean()


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
        torch.testing.assert_close(answer(gated, rows), answer(gated, _with(rows, ids=without)))


@pytest.mark.parametrize("config", CLICK)
def test_every_field_bears_on_the_logit(config: object) -> None:
    evaluated = model(config).eval()
    rows = batch(40)
    with torch.no_grad():
        before = answer(evaluated, rows)
        for name in ("user", "item", "tags"):
            ids = rows.ids[name]
            moved = Ids(values=(ids.values + 1) % LAYOUT.tables[name], lengths=ids.lengths)
            assert not torch.equal(answer(evaluated, _with(rows, ids={**rows.ids, name: moved})), before), name
        assert not torch.equal(answer(evaluated, _with(rows, numbers=rows.numbers + 1)), before)
        assert not torch.equal(answer(evaluated, _with(rows, vectors={"image": rows.vectors["image"] + 1})), before)


def _with(rows: Batch, **changes: object) -> Batch:
    return dataclasses.replace(rows, **changes)


class TensorsIn(torch.nn.Module):
    """A network as a function of tensors, as an exporter sees it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        rows: dict[str, torch.Tensor],
        numbers: torch.Tensor,
        vectors: dict[str, torch.Tensor],
        members: dict[str, torch.Tensor],
        mask: torch.Tensor,
    ) -> torch.Tensor:
        sequences = {"history": Sequence(members=members, mask=mask)} if members else {}
        output = self.network(Fields(rows=rows, numbers=numbers, vectors=vectors, sequences=sequences))
        return output.query if output.logits is None else output.logits


def tensors(fields: Fields) -> tuple[object, ...]:
    """The inputs of ``TensorsIn``."""
    history = fields.sequences.get("history")
    members, mask = (dict(history.members), history.mask) if history else ({}, torch.ones(len(fields.numbers), 4) > 0)
    return dict(fields.rows), fields.numbers, dict(fields.vectors), members, mask


@pytest.mark.parametrize("config", CASES)
def test_the_network_exports_with_a_free_batch_size(config: object) -> None:
    evaluated = model(config).eval()
    with torch.no_grad():
        fields = evaluated.lookups(batch(6))
        inputs = tensors(fields)
        free = torch.export.Dim("batch", min=1)
        shapes = tuple({name: {0: free} for name in of} if isinstance(of, dict) else {0: free} for of in inputs)
        program = torch.export.export(TensorsIn(evaluated.network), inputs, dynamic_shapes=shapes).module()
        for num_rows in (1, 7):
            other = evaluated.lookups(batch(num_rows, seed=num_rows))
            exported = program(*tensors(other))
            expected = evaluated.network(other)
            torch.testing.assert_close(exported, expected.query if expected.logits is None else expected.logits)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("config", [case for case in CASES if case.id.endswith("-0")])
def test_every_network_answers_alike_as_a_library(config: object, tmp_path: Path) -> None:
    evaluated = model(config).eval()
    with torch.no_grad():
        path = tmp_path / "library.pt2"
        compile_network(evaluated.network, example=evaluated.lookups(batch(6)), bf16=False, into=path)
        library = open_compiled(path, sha256=checksum(path))
        for num_rows in (1, 7, 50):
            fields = evaluated.lookups(batch(num_rows, seed=num_rows))
            output = evaluated.network(fields)
            exact = output.query if output.logits is None else output.logits
            torch.testing.assert_close(library(fields), exact, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", CASES)
def test_bf16_autocast_is_finite_and_near(config: object) -> None:
    evaluated = model(config).eval()
    rows = batch(30)
    with torch.no_grad():
        exact = answer(evaluated, rows)
        evaluated.precision = "bf16"
        near = answer(evaluated, rows)
    assert near.isfinite().all()
    torch.testing.assert_close(near.float(), exact, atol=0.05 * max(1.0, float(exact.abs().max())), rtol=0.05)


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


@pytest.mark.parametrize("config", NEXT_ITEM)
def test_every_event_bears_on_the_query_and_no_other_field_does(config: object) -> None:
    evaluated = model(config).eval()
    rows = batch(40)
    history = rows.ids["history/item"]
    starts = torch.nn.functional.pad(history.lengths.cumsum(0), (1, 0))[:-1]
    with torch.no_grad():
        before = answer(evaluated, rows)
        for place in range(4):
            chosen = history.lengths > place
            values = history.values.clone()
            values[(starts + place)[chosen]] = 1 + values[(starts + place)[chosen]] % 12
            moved = Ids(values=values, lengths=history.lengths)
            after = answer(evaluated, _with(rows, ids={**rows.ids, "history/item": moved}))
            assert torch.equal((after != before).any(dim=1), chosen), place
        others = {name: Ids(values=rows.ids[name].values * 0) for name in ("user", "item")}
        torch.testing.assert_close(answer(evaluated, _with(rows, ids={**rows.ids, **others})), before)


@pytest.mark.parametrize("config", NEXT_ITEM)
def test_a_causal_network_in_training_knows_no_later_event(config: object) -> None:
    trained = model(config).train()
    rows = batch(40)
    torch.manual_seed(1)  # the same coordinates fall to dropout both times
    output, _ = trained(rows)
    if not config.causal:
        assert output.queries is None
        return
    history = rows.ids["history/item"]
    last = history.lengths.cumsum(0)[history.lengths > 1] - 1
    values = history.values.clone()
    values[last] = 1 + values[last] % 12
    torch.manual_seed(1)
    moved, _ = trained(_with(rows, ids={**rows.ids, "history/item": Ids(values=values, lengths=history.lengths)}))
    place = torch.arange(4).expand(40, 4)
    earlier = place < (history.lengths - 1).unsqueeze(1)
    torch.testing.assert_close(moved.queries[earlier], output.queries[earlier])
    at_end = (place == (history.lengths - 1).unsqueeze(1)) & (history.lengths > 1).unsqueeze(1)
    assert (moved.queries[at_end] != output.queries[at_end]).any(dim=1).all()
    real = history.lengths > 0
    torch.testing.assert_close(output.query[real], output.queries[place == (history.lengths - 1).unsqueeze(1)])


@pytest.mark.parametrize("config", CASES)
def test_the_seed_decides_every_weight(config: object) -> None:
    torch.manual_seed(5)
    first = model(config).state_dict()
    torch.manual_seed(6)
    second = model(config).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_file_of_models_is_in_the_union() -> None:
    known = {config.__module__.rsplit(".", 1)[-1] for config in CONFIGS}
    folder = Path(ctrgate.models.__file__).parent
    parts = {"__init__", "inputs", "network", "registry", "blocks", "experts", "next_item", "histories"}
    assert {path.stem for path in folder.glob("*.py")} - parts == known


def test_the_union_has_a_run_file_for_every_network_and_every_run_file_loads() -> None:
    @settings
    class Sections:
        name: str
        dataset: DatasetConfig
        model: ModelConfig

    files = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
    assert files
    used = {load(path, Sections).model.name for path in files}
    names = {config.__dataclass_fields__["name"].default for config in CONFIGS}
    assert used <= names
    assert names - used == set()
