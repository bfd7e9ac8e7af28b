"""AW-MoE: its formula, when histories are masked, which rows are negatives, and what the gate's observer sees."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ctrgate.contracts import Batch, Fields
from ctrgate.errors import ConfigError
from ctrgate.features.layout import SequenceGroup
from ctrgate.layers.behaviour_gate import contrast, drop_events
from ctrgate.models.aw_moe import AWMoE, AWMoEConfig, BehavioursConfig, TargetConfig
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.plan import plan_inputs
from ctrgate.models.tables import TablesConfig
from ctrgate.training.model import CtrModel
from ctrgate.training.observer import observe
from tests.models.every_network import LAYOUT, batch, model

SMALL = MlpConfig(hidden=(8, 6), batch_norm=False)


def config(**gate: object) -> AWMoEConfig:
    return AWMoEConfig(num_experts=3, mlp=SMALL, gate=BehavioursConfig(**gate))


def body(of: CtrModel) -> AWMoE:
    assert isinstance(of.network.body, AWMoE)
    return of.network.body


def rows_of(num_rows: int, *, seed: int = 0, users: bool = True) -> Batch:
    rows = batch(num_rows, seed=seed)
    return dataclasses.replace(rows, groups=torch.arange(num_rows) // 3 if users else None)


def inner_fields(of: CtrModel, rows: Batch) -> Fields:
    """What the network's body sees, projections done."""
    seen: list[Fields] = []
    handle = body(of).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    of(rows)
    handle.remove()
    return seen[0]


@torch.no_grad()
def test_the_logit_is_the_sum_of_experts_times_factors() -> None:
    of = model(config()).eval()
    rows = rows_of(20)
    fields, network = inner_fields(of, rows), body(of)
    history = fields.sequence("history")
    shown = torch.cat([fields["item"], fields["tags"]], dim=1)
    events = torch.cat([history["item"], history["tag"]], dim=2) + history["ago"]
    interest = network.interests.units[0](shown, events, history.mask)
    factors, _ = network.gate(shown, events, history.mask)
    z = torch.cat([fields.flat, interest], dim=1)
    expected = sum(factors[:, [k]] * expert(z) for k, expert in enumerate(network.experts.experts))
    torch.testing.assert_close(of(rows)[0].logits, expected)


@torch.no_grad()
def test_rows_without_events_get_the_learned_factors() -> None:
    of = model(config()).eval()
    rows = rows_of(20)
    empty = rows.ids["history/item"].lengths == 0
    assert empty.any()
    assert not empty.all()
    before = of(rows)[0].logits
    body(of).gate.empty.mul_(2.0)
    after = of(rows)[0].logits
    torch.testing.assert_close(after[empty], 2 * before[empty])
    assert torch.equal(after[~empty], before[~empty])


def test_the_term_is_the_contrast_of_a_masked_history_with_other_users() -> None:
    of = model(config(contrast=0.3, temperature=0.2, masked_share=0.5)).train()
    rows = rows_of(40)
    torch.manual_seed(5)
    output, _ = of(rows)
    fields, gate = inner_fields(of, rows), body(of).gate
    history = fields.sequence("history")
    events = torch.cat([history["item"], history["tag"]], dim=2) + history["ago"]
    given = torch.cat([fields["item"], fields["tags"]], dim=1), events
    torch.manual_seed(5)
    kept = drop_events(history.mask, share=0.5)
    (factors, _), (masked, _) = gate(*given, history.mask), gate(*given, kept)  # the gate as a whole, twice
    present = history.mask.any(dim=1)
    expected = contrast(factors, masked, present=present, groups=rows.groups, temperature=0.2)
    torch.testing.assert_close(output.aux, {"contrast": 0.3 * expected})
    torch.manual_seed(5)
    other, _ = of(dataclasses.replace(rows, groups=None))
    assert bool(other.aux["contrast"] > output.aux["contrast"])  # more negatives: rows of the same user too


def test_the_term_reaches_the_gate_and_what_it_reads_alone() -> None:
    of = model(config()).train()
    of(rows_of(40))[0].aux["contrast"].backward()
    names = {name for name, weight in of.network.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {name.removeprefix("body.").split(".")[0] for name in names} == {"gate", "event_projections"}
    assert "body.gate.empty" not in names
    assert of.lookups.dense_tables()["item"].grad.any()


def test_masking_is_reproducible_and_leaves_the_logits_alone() -> None:
    of = model(config(masked_share=0.5)).train()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(of(rows_of(40))[0])
    assert torch.equal(found[0].aux["contrast"], found[1].aux["contrast"])
    assert not torch.equal(found[0].aux["contrast"], found[2].aux["contrast"])
    assert torch.equal(found[0].logits, found[2].logits)
    torch.testing.assert_close(model(config()).eval()(rows_of(40))[0].logits, found[0].logits)


def test_nothing_is_masked_in_evaluation_or_without_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("masked")

    monkeypatch.setattr("ctrgate.models.aw_moe.drop_events", never)
    for of in (model(config()).eval(), model(config(contrast=0.0)).train()):
        assert of(rows_of(20))[0].aux == {}
    with pytest.raises(AssertionError, match="masked"):
        model(config()).train()(rows_of(20))


@torch.no_grad()
def test_a_target_gate_looks_at_what_is_shown_alone() -> None:
    of = model(AWMoEConfig(num_experts=3, mlp=SMALL, gate=TargetConfig())).eval()
    seen: list[torch.Tensor] = []
    body(of).gate.register_forward_hook(lambda _, __, found: seen.append(found[0]))
    rows = rows_of(20)
    history = rows.ids["history/item"]
    moved = dataclasses.replace(history, values=history.values % 12 + 1)
    before, _ = of(rows)
    after, _ = of(dataclasses.replace(rows, ids={**rows.ids, "history/item": moved}))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(before.logits, after.logits)
    torch.testing.assert_close(seen[0].sum(dim=1), torch.ones(20))


def test_one_history_votes_and_it_must_be_named_where_there_are_several() -> None:
    without = dataclasses.replace(LAYOUT, sequences=())
    with pytest.raises(ConfigError, match=r"model\.history: not given.*there is none, and this network needs one"):
        AWMoEConfig().embeddings(without)
    first = LAYOUT.sequences[0]
    carts = SequenceGroup(
        name="carts",
        members=tuple(dataclasses.replace(m, column=m.column.replace("history", "carts")) for m in first.members),
        max_length=3,
    )
    both = dataclasses.replace(LAYOUT, sequences=(first, carts))
    with pytest.raises(ConfigError, match=r"model\.history: not given.*carts, history"):
        AWMoEConfig().embeddings(both)
    with pytest.raises(ConfigError, match=r"model\.history: views"):
        AWMoEConfig(history="views").embeddings(both)
    named = model(AWMoEConfig(mlp=SMALL, history="carts"), layout=both)
    assert len(body(named).interests.units) == 2
    assert body(named)._group.name == "carts"


@pytest.mark.parametrize("normalisation", ["none", "sigmoid", "softmax"])
@torch.no_grad()
def test_the_observer_reports_uses_of_experts_by_length_of_history(normalisation: str) -> None:
    of = model(config(normalisation=normalisation)).eval()
    rows = rows_of(30)
    inputs = plan_inputs(LAYOUT, TablesConfig(dim=4), config().embeddings(LAYOUT))
    seen: list[np.ndarray] = []
    body(of).gate.register_forward_hook(lambda _, __, found: seen.append(found[0].double().numpy()))
    lengths = rows.ids["history/item"].lengths.numpy()
    with observe(of.network, inputs=inputs, segments={"events": np.where(lengths > 1, "many", "few")}) as observer:
        of(rows)
    (found,) = observer.summary()["gates"]
    factors = seen[0]
    shares = np.array([[abs(value) / sum(map(abs, row)) for value in row] for row in factors])
    np.testing.assert_allclose(found["load"], shares.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found["first"], np.bincount(np.abs(factors).argmax(axis=1), minlength=3) / 30)
    entropy = -(shares * np.log(shares)).sum(axis=1).mean() / np.log(3)
    assert found["entropy"] == pytest.approx(entropy, abs=1e-6)
    lines = {line["value"]: line["means"] for line in found["segments"]["events"]["lines"]}
    np.testing.assert_allclose(lines["many"], shares[lengths > 1].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(lines["few"], shares[lengths <= 1].mean(axis=0), atol=1e-6)
    if normalisation == "softmax":
        assert "factors" not in found
    else:
        np.testing.assert_allclose(found["factors"], factors.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(found["magnitudes"], np.abs(factors).mean(axis=0), atol=1e-6)
