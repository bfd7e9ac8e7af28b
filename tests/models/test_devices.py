"""A network is where its parameters are: nothing of it stays behind on the processor.

Meta tensors have shapes but no values, and refuse to meet a tensor of another device, as a GPU's do.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping

import pytest
import torch

from ctrgate.contracts import Fields, Sequence
from tests.models.every_network import CASES, batch, model

WITHOUT_VALUES = r"autocast|scalarType|item\(\) cannot be called on meta"
"""What meta tensors cannot do, and a GPU's can."""


def at(device: str, part: object) -> object:
    if isinstance(part, torch.Tensor):
        return part.to(device)
    if isinstance(part, Sequence):
        return Sequence(members=at(device, part.members), mask=at(device, part.mask))
    return {name: at(device, of) for name, of in part.items()} if isinstance(part, Mapping) else part


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_a_network_can_be_moved(config: object, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = model(config).train(training)
    fields = moved.lookups(batch(7))
    parts = {of.name: at("meta", getattr(fields, of.name)) for of in dataclasses.fields(Fields)}
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # pieces by length hang on values
    moved.network.to("meta")
    try:
        output = moved.network(Fields(**parts))
    except (RuntimeError, NotImplementedError) as error:
        if re.search(WITHOUT_VALUES, str(error)) is None:
            raise
        pytest.skip(f"meta tensors have no values: {error}")
    found = output.query if output.logits is None else output.logits
    assert found.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.parametrize("config", CASES)
def test_a_moved_network_says_and_learns_the_same(config: object) -> None:
    here = model(config).eval()
    fields, there = here.lookups(batch(7)), copy.deepcopy(here.network).to("cuda")
    moved = Fields(**{of.name: at("cuda", getattr(fields, of.name)) for of in dataclasses.fields(Fields)})
    answers = []
    for network, given in ((here.network, fields), (there, moved)):
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent networks have no gradients in evaluation
            output = network(given)
        said = output.query if output.logits is None else output.logits
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        slopes = torch.autograd.grad(said.square().mean(), learned, allow_unused=True)
        answers.append([said.detach().cpu(), *(torch.zeros(()) if of is None else of.cpu() for of in slopes)])
    for theirs, ours in zip(answers[1], answers[0], strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
