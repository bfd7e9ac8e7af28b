"""FinalMLP's settings that do not go together."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter

from ctrgate.config import dump, faults_of
from ctrgate.models.final_mlp import FinalMLPConfig


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"gate1_context": ["user"]}, "gate1_context"),
        ({"gate2_context": ["item"], "gate_hidden": 64}, "gate2_context, gate_hidden"),
    ],
)
def test_settings_of_gates_that_are_not_there_are_refused(settings: dict[str, object], idle: str) -> None:
    (fault,) = faults_of({"gated": False, **settings}, FinalMLPConfig)
    assert re.search(f"gated is false, so {idle} would do nothing; leave out", fault)
    assert faults_of({"gated": True, **settings}, FinalMLPConfig) == []


def test_settings_without_gates_are_read_again_as_they_were_written() -> None:
    plain = FinalMLPConfig(gated=False)
    assert TypeAdapter(FinalMLPConfig).validate_python(dump(plain)) == plain
