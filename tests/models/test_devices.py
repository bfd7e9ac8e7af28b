"""A network is where its parameters are: nothing of it stays behind on the processor.

Meta tensors have shapes but no values, and refuse to meet a tensor of another device, as a GPU's do.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import pytest
import torch

from ctrgate.contracts import Fields, Sequence
from tests.models.every_network import CASES, batch, model

WITHOUT_VALUES = r"autocast|scalarType|item\(\) cannot be called on meta"
"""What meta tensors cannot do, and a GPU's can."""


def on_meta(part: object) -> object:
    if isinstance(part, torch.Tensor):
        return part.to("meta")
    if isinstance(part, Sequence):
        return Sequence(members=on_meta(part.members), mask=on_meta(part.mask))
    return {name: on_meta(of) for name, of in part.items()} if isinstance(part, Mapping) else part


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_a_network_can_be_moved(config: object, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = model(config).train(training)
    fields = moved.lookups(batch(7))
    parts = {of.name: on_meta(getattr(fields, of.name)) for of in dataclasses.fields(Fields)}
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
