"""What every gate keeps to, whichever there are: they are found by their slot and built from what they document."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor, nn

import ctrgate.layers

SLOTS = {"value", "field", "interaction", "expert", "residual", "sequence"}

# What a gate is built with: a size for every parameter without a default, and what else to try where there is one.
SIZES = {
    "dim": 6,
    "feature_dim": 6,
    "context_dim": 5,
    "input_dim": 5,
    "in_dim": 5,
    "out_dim": 3,
    "hidden_dim": 7,
    "head_dim": 3,
    "num_fields": 4,
    "num_heads": 2,
    "num_experts": 4,
}
OTHERS: dict[str, list[object]] = {
    "rank": [2],
    "hidden_dims": [(3,)],
    "num_experts": [1, 5],
    "num_chosen": [1],
    "permutation_steps": [10],
}
# A dimension whose letter belongs to no parameter.
FREE = 5


def gate_classes() -> list[type[nn.Module]]:
    """Every class of the layers with a slot, but for those that only gather what others share."""
    modules = [import_module(f"ctrgate.layers.{found.name}") for found in pkgutil.iter_modules(ctrgate.layers.__path__)]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
        if hasattr(value, "slot")
    ]
    parents = {parent for value in found for parent in value.__bases__}
    return [value for value in found if value not in parents]


CLASSES = gate_classes()
# Gates of single values take ids of rows and know no neighbours: nothing below but slot, name and docstring fits them.
# What they keep to among themselves belongs into a file of their own.
BUILT = [cls for cls in CLASSES if cls.slot != "value"]

Changes = dict[str, object]


def changes_of(cls: type[nn.Module]) -> Iterator[Changes]:
    """None, then one at a time: other values of a Literal, of a bool, None where it may stand, and ``OTHERS``."""
    yield {}
    hints = get_type_hints(cls.__init__)
    for name, parameter in inspect.signature(cls).parameters.items():
        hint, choices = hints[name], list(OTHERS.get(name, []))
        if get_origin(hint) is Literal:
            choices += get_args(hint)
        elif hint is bool:
            choices += [True, False]
        elif type(None) in get_args(hint):
            choices.append(None)
        yield from ({name: choice} for choice in choices if choice != parameter.default)


def label(value: object) -> str:
    if isinstance(value, type):
        return value.__name__
    assert isinstance(value, dict)
    return "-".join(f"{name}={choice}" for name, choice in value.items()) or "plain"


def every(condition: Callable[[type[nn.Module]], bool] = lambda _: True) -> pytest.MarkDecorator:
    cases = [(cls, changes) for cls in BUILT if condition(cls) for changes in changes_of(cls)]
    return pytest.mark.parametrize(("cls", "changes"), cases, ids=label)


def is_expert(cls: type[nn.Module]) -> bool:
    return cls.slot == "expert"


def takes_any_dimensions(cls: type[nn.Module]) -> bool:
    """Whether the documented shape has dots, or is none in particular."""
    text = section(cls, "Shape").get("returns", "")
    return "..." in text or "``(" not in text


def arguments(cls: type[nn.Module], changes: Changes) -> Changes:
    """What the constructor gets."""
    needed = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty and name not in changes
    ]
    assert set(needed) <= set(SIZES), f"give SIZES what {cls.__name__} needs: {set(needed) - set(SIZES)}"
    return {name: SIZES[name] for name in needed} | changes


def build(cls: type[nn.Module], changes: Changes, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return cls(**arguments(cls, changes))


def section(cls: type[nn.Module], title: str) -> dict[str, str]:
    """A docstring's entries ``name, name: text`` under a title; a parent's where a class has none."""
    for owner in cls.__mro__[: cls.__mro__.index(nn.Module)]:
        found = re.search(rf"^{title}:\n((?:    .+\n?)+)", inspect.cleandoc(owner.__doc__ or ""), re.MULTILINE)
        if found:
            entries = re.findall(r"^    (?:- )?(\w+(?:, \w+)*): (.*(?:\n     .*)*)", found[1], re.MULTILINE)
            return {name: text for names, text in entries for name in names.split(", ")}
    return {}


def letters(cls: type[nn.Module], changes: Changes) -> dict[str, int]:
    """The letters of a docstring's ``Args``, as in ``dim: 2 N, even.``, with their sizes."""
    given, known = arguments(cls, changes), {}
    for name, text in section(cls, "Args").items():
        letter = re.match(r"(?:(\d+) )?([A-Z]'?)[.,;]", text)
        size = given.get(name)
        if letter and isinstance(size, int):
            known[letter[2]] = size // int(letter[1] or 1)
    return known


def shape(cls: type[nn.Module], changes: Changes, name: str, *, num_rows: int, extra: tuple[int, ...]) -> list[int]:
    """That of an input or of what a gate returns; where a docstring gives none, any will do."""
    text = section(cls, "Shape").get(name)
    assert text is not None, f"{cls.__name__} does not document the shape of {name}"
    found = re.search(r"``\(([^`]*)\)``", text)
    known, sizes = letters(cls, changes) | {"B": num_rows}, []
    for part in found[1].split(",") if found else ["B", "..."]:
        if part.strip() == "...":
            sizes += [*extra] if found else [*extra, FREE]
        elif part.strip().isdigit():
            sizes.append(int(part))
        else:
            times, letter = re.fullmatch(r"(?:(\d+) )?([A-Z]'?)", part.strip()).groups()
            sizes.append(int(times or 1) * known.get(letter, FREE))
    return sizes


def inputs(
    cls: type[nn.Module], changes: Changes, *, num_rows: int, extra: tuple[int, ...] = (), seed: int = 1
) -> dict[str, Tensor | None]:
    """What ``forward`` takes; None for an input that the gate was built without."""
    random = torch.Generator().manual_seed(seed)

    def drawn(name: str) -> Tensor | None:
        if changes.get(f"{name}_dim", 0) is None:
            return None
        sizes = shape(cls, changes, name, num_rows=num_rows, extra=extra)
        if name == "mask":  # histories of any length from 0 on, padded on the right
            return torch.arange(sizes[-1]) < torch.randint(sizes[-1] + 1, (*sizes[:-1], 1), generator=random)
        return torch.randn(sizes, generator=random)

    return {name: drawn(name) for name in inspect.signature(cls.forward).parameters if name != "self"}


def call(gate: nn.Module, given: Mapping[str, Tensor | None]) -> tuple[Tensor, dict[str, Tensor]]:
    """What a gate returns, and its terms if it has some."""
    found = gate(**given)
    return (found[0], dict(found[1])) if isinstance(found, tuple) else (found, {})


def pull(found: Tensor, terms: Mapping[str, Tensor]) -> None:
    """Gradients from every number on its own, and from the terms."""
    (found * torch.randn_like(found)).sum().add(sum(terms.values())).backward()


def test_the_gates_are_found() -> None:
    assert {cls.slot for cls in BUILT} == SLOTS - {"value"}
    assert all(cls.__name__ in import_module(cls.__module__).__all__ for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_gate_has_a_slot_and_says_so(cls: Any) -> None:
    assert cls.slot in SLOTS
    assert re.search(rf"\(slot: {cls.slot}[);,]", cls.__doc__), f"say (slot: {cls.slot}) in the docstring"


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if not is_expert(cls)])
def test_a_gate_that_scales_gives_its_factor_alone(cls: Any) -> None:
    assert inspect.isfunction(cls.factor)
    assert cls.factor.__doc__ or cls.slot == "value"  # there it is documented once for all of them


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_rows", [0, 1, 7])
@every()
def test_any_number_of_rows_gives_finite_numbers_and_gradients(
    cls: Any, changes: Changes, num_rows: int, training: bool
) -> None:
    gate = build(cls, changes).train(training)
    found, terms = call(gate, inputs(cls, changes, num_rows=num_rows))
    assert list(found.shape) == shape(cls, changes, "returns", num_rows=num_rows, extra=())
    assert found.isfinite().all()
    assert {name for name, term in terms.items() if not term.isfinite()} == set()
    pull(found, terms)
    broken = {name for name, p in gate.named_parameters() if p.grad is not None and not p.grad.isfinite().all()}
    assert broken == set()


@every(takes_any_dimensions)
def test_dimensions_between_rows_and_the_last_one_are_as_good_as_rows(cls: Any, changes: Changes) -> None:
    gate = build(cls, changes)
    given = inputs(cls, changes, num_rows=3, extra=(2,))
    flat = {name: value.flatten(end_dim=1) for name, value in given.items()}
    torch.testing.assert_close(call(gate, given)[0].flatten(end_dim=1), call(gate, flat)[0])


@every()
def test_a_row_is_indifferent_to_its_neighbours(cls: Any, changes: Changes) -> None:
    gate = build(cls, changes)
    given = inputs(cls, changes, num_rows=7)
    for _ in range(2):  # away from the start, where some gates ignore what they see
        pull(*call(gate, given))
        torch.optim.SGD(gate.parameters(), lr=0.1).step()
    gate.eval()
    alone = [
        call(gate, {name: value if value is None else value[row : row + 1] for name, value in given.items()})[0]
        for row in range(7)
    ]
    torch.testing.assert_close(call(gate, given)[0], torch.cat(alone))


@every()
def test_an_input_of_another_width_is_refused_not_stretched(cls: Any, changes: Changes) -> None:
    gate, given, known = build(cls, changes), inputs(cls, changes, num_rows=3), letters(cls, changes)
    bound = [
        name
        for name, value in given.items()
        if value is not None and value.size(-1) > 1 and section(cls, "Shape")[name].split(")")[0][-1] in known
    ]
    for name in bound:
        narrow = given | {name: given[name][..., :1]}
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            call(gate, narrow)


@pytest.mark.parametrize("training", [True, False])
@every()
def test_bf16_autocast_gives_finite_numbers_and_gradients(cls: Any, changes: Changes, training: bool) -> None:
    gate = build(cls, changes).train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, terms = call(gate, inputs(cls, changes, num_rows=7))
    assert found.isfinite().all()
    assert all(term.isfinite() for term in terms.values())
    if is_expert(cls):
        assert {found.dtype, *(term.dtype for term in terms.values())} == {torch.float32}
    pull(found, terms)
    assert all(p.grad.isfinite().all() for p in gate.parameters() if p.grad is not None)


@every()
def test_a_gradient_reaches_every_parameter_but_those_a_gate_lists(cls: Any, changes: Changes) -> None:
    gate, reached = build(cls, changes), set()
    optimizer = torch.optim.SGD(gate.parameters(), lr=0.1)
    for seed in range(4):  # a gate that starts neutral opens its inner parameters with the first step
        optimizer.zero_grad()
        pull(*call(gate, inputs(cls, changes, num_rows=20, seed=seed)))
        optimizer.step()
        # a softmax over one number leaves some rounding
        reached |= {name for name, p in gate.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-6}
    listed = gate.untrained() if hasattr(gate, "untrained") else {}
    assert {name for name, _ in gate.named_parameters()} - reached == set(listed)
    assert all(listed.values()), "each with its reason"


@every()
def test_l2_is_kept_from_parameters_that_exist(cls: Any, changes: Changes) -> None:
    names = {name for name, _ in build(cls, changes).named_parameters()}
    assert set(getattr(cls, "without_l2", ())) <= names


@every()
def test_the_same_seed_gives_the_same_start(cls: Any, changes: Changes) -> None:
    one, other = (build(cls, changes, seed=3).state_dict() for _ in range(2))
    assert list(one) == list(other)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@every()
def test_the_state_of_a_gate_is_all_it_needs_to_go_on(cls: Any, changes: Changes) -> None:
    gate, again = build(cls, changes), build(cls, changes, seed=9)
    for seed in range(3):
        call(gate, inputs(cls, changes, num_rows=7, seed=seed))
    again.load_state_dict(gate.state_dict())
    given = inputs(cls, changes, num_rows=7)
    results = []
    for one in (gate, again):
        torch.manual_seed(5)  # for noise
        results.append([call(one.train(), given), call(one.eval(), given)])
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


@every(is_expert)
def test_weights_of_experts_are_shares_and_evaluation_has_no_terms(cls: Any, changes: Changes) -> None:
    gate, given = build(cls, changes), inputs(cls, changes, num_rows=7)
    for training in (True, False):
        weights, terms = call(gate.train(training), given)
        if not getattr(gate, "shares", True):  # then it gives factors of any sum
            assert training or not terms
            continue
        assert (weights >= 0).all()
        assert (weights.sum(dim=1) <= 1 + 1e-6).all()
        assert (weights.sum(dim=1) > 0).all()
        assert training or not terms
    if weights.size(1) == 1 and getattr(gate, "shares", True):
        torch.testing.assert_close(weights, torch.ones(7, 1))
