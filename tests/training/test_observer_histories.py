"""Gates upon histories as the observer sees them: real events alone, by place from the end, in whatever pieces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ctrgate.contracts import Fields, Sequence
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup
from ctrgate.gate_report.drawn import gate_figures
from ctrgate.gate_report.section import gate_section
from ctrgate.models.bst import BSTConfig
from ctrgate.models.hgrn import HGRNConfig
from ctrgate.models.inputs import Inputs
from ctrgate.models.network import Network
from ctrgate.models.plan import plan_inputs
from ctrgate.models.sasrec import SASRecConfig
from ctrgate.models.sigma import SIGMAConfig
from ctrgate.models.tables import DenseRule, TablesConfig
from ctrgate.training.gate_statistics import SequenceStatistics
from ctrgate.training.observer import observe

LENGTHS = [0, 1, 3, 8, 9, 20, 17, 2]
LAYOUT = Layout(
    fields=(Field(name="item", kind="id", table="item"),),
    sequences=(
        SequenceGroup(
            name="history", max_length=20, members=(Member(name="item", column="history/item", table="item"),)
        ),
    ),
    tables={"item": 30},
    labels=(),
    roles={},
)


def build(config: object) -> tuple[Network, Inputs]:
    torch.manual_seed(0)
    inputs = plan_inputs(LAYOUT, TablesConfig(dim=4, rule=DenseRule()), config.embeddings(LAYOUT))
    return Network(config, inputs=inputs).eval(), inputs


def histories() -> tuple[Fields, torch.Tensor]:
    mask = torch.arange(20) < torch.tensor(LENGTHS)[:, None]
    items = torch.randn(len(LENGTHS), 20, 4, generator=torch.Generator().manual_seed(3)) * mask.unsqueeze(2)
    sequence = Sequence(members={"item": items}, mask=mask)
    return Fields(rows={}, numbers=torch.zeros(len(LENGTHS), 0), sequences={"history": sequence}), mask


def expected(config: object) -> tuple[str, np.ndarray]:
    """The factors of the network's gate at full length, computed from what goes into the gate there."""
    network, _ = build(config)
    fields, mask = histories()
    gates = [(name, module) for name, module in network.named_modules() if hasattr(module, "factor")]
    name, gate = next((each for each in gates if each[1].slot == "sequence"), gates[0])
    told = []
    factor = gate.factor
    gate.__dict__["factor"] = lambda *given: told.append(factor(*given)) or told[-1]
    network.body.encoder(fields.sequence("history")["item"], mask)  # without pieces
    return name, told[0].detach().double().numpy()


@pytest.mark.parametrize("config", [SIGMAConfig(), SASRecConfig(gate="head", num_heads=2, max_length=20), HGRNConfig()])
def test_places_have_the_means_of_a_loop_over_real_events(config: object) -> None:
    network, inputs = build(config)
    fields, _ = histories()
    with torch.no_grad(), observe(network, inputs=inputs) as observer:
        network(fields)
    name, factors = expected(config)
    report = {"split": "valid", **observer.summary()}
    (gate,) = (gate for gate in report["gates"] if gate["name"] == name)
    by_bin: dict[int, list[float]] = {}
    for row, length in enumerate(LENGTHS):
        for position in range(length):
            place = length - 1 - position
            start = max(begin for begin in SequenceStatistics.BINS if begin <= place)
            by_bin.setdefault(start, []).append(float(factors[row, position].mean()))
    assert [line["from"] for line in gate["places"]] == sorted(by_bin)
    for line in gate["places"]:
        values = by_bin[line["from"]]
        assert line["num_events"] == len(values)
        assert line["mean"] == pytest.approx(np.mean(values), rel=1e-5)
        assert line["std"] == pytest.approx(np.std(values), rel=1e-3, abs=1e-6)
    everything = [value for values in by_bin.values() for value in values]
    assert gate["num_rows"] == sum(LENGTHS)
    assert gate["mean"] == pytest.approx(np.mean(everything), rel=1e-5)
    assert any(figure.startswith("places_") for figure in gate_figures(report))
    section = "".join(gate_section(report).parts)
    assert "last event" in section
    assert "5 to 9 before" in section


def test_a_network_that_reads_backwards_has_its_newest_event_first_and_what_is_shown_left_out() -> None:
    network, inputs = build(BSTConfig(gate="head", num_heads=2, num_layers=1))
    fields, _ = histories()
    fields = replace(fields, rows={"item": torch.randn(len(LENGTHS), 4)})
    (gate,) = (module for module in network.modules() if hasattr(module, "factor"))
    told, factor = [], gate.factor
    gate.__dict__["factor"] = lambda *given: told.append(factor(*given)) or told[-1]
    with torch.no_grad():
        network(fields)
    del gate.__dict__["factor"]
    with torch.no_grad(), observe(network, inputs=inputs) as observer:
        network(fields)
    newest = [float(told[0][row, 1].mean()) for row, length in enumerate(LENGTHS) if length]
    ((first, *_),) = (each["places"] for each in observer.summary()["gates"])
    assert (first["from"], first["num_events"]) == (0, len(newest))
    assert first["mean"] == pytest.approx(np.mean(newest), rel=1e-5)
