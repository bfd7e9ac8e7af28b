"""Every network answers nearly alike with rounded rows, as an export, as a library and in bf16."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ctrgate.artifact.compiled import compile_network, open_compiled
from ctrgate.artifact.forms import RowForm
from ctrgate.artifact.lookup import TableLookup
from ctrgate.artifact.rows import form_of, restored, store
from ctrgate.contracts import Fields, Sequence
from ctrgate.files import checksum
from tests.models.every_network import CASES, answer, batch, model


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
