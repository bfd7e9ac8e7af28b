"""Scoring with a registered model: one version from the first part to the last, whatever an alias names meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from ctrgate.artifact.manifest import identity
from ctrgate.errors import ConfigError
from ctrgate.scoring.folder import WorkFolder
from ctrgate.scoring.model import resolve
from tests.promotion.conftest import World


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_job_keeps_the_version_that_it_began_with(
    world: World, dense_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.promote("first")
    into = world.folder / "scores"
    dense_run.rows[:9].write_parquet(world.folder / "rows.parquet")
    order = [f"score.files={world.folder / 'rows.parquet'}", f"score.into={into}", "score.model=models:/small@champion"]
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            world("score", "first", *order)
    world.promote("second", against="first")
    assert world.champion is not None
    assert world.champion.version == 2
    for _ in range(2):  # gone on with, and found finished
        assert world("score", "first", *order)["model_version"] == 1
    registered = json.loads((into / "_SUCCESS").read_text())["model"]["registered"]
    assert registered == {"name": "small", "version": 1}
    metadata = pq.read_schema(into / "part-00000-00000-rows.parquet").metadata
    assert (metadata[b"ctrgate.model_name"], metadata[b"ctrgate.model_version"]) == (b"small", b"1")
    assert world("score", "first", *order, "score.replace=true")["model_version"] == 2
    order[-1] = "score.model=models:/small/1"
    with pytest.raises(ConfigError, match="holds scores of another model"):
        world("score", "first", *order)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("models:/small@best", "small has the aliases: champion"),
        ("models:/small/7", "small has no version 7"),
        ("models:/small", "is not written models:/NAME@ALIAS or models:/NAME/VERSION"),
    ],
)
def test_a_model_that_is_not_there_is_told(world: World, reference: str, says: str) -> None:
    world.promote("first")
    order = [f"score.files={world.folder}", f"score.into={world.folder / 'out'}", f"score.model={reference}"]
    with pytest.raises(ConfigError, match=says):
        world("score", "first", *order)


def test_the_registry_is_asked_for_the_identity_that_code_is_trusted_by(world: World) -> None:
    world.promote("first")
    tracking = world.tracking
    asked = resolve("models:/small@champion", tracking=tracking)
    assert asked.identity == identity(asked.folder)
    pinned = {"reference": asked.reference, "folder": str(asked.folder), "version": 1, "identity": asked.identity}
    assert resolve(asked.reference, tracking=tracking, pinned=pinned).identity == ""  # not from the job's own record
    assert resolve(asked.reference, tracking=tracking, pinned=pinned, verify=True) == asked
    assert resolve(str(asked.folder), tracking=tracking).identity == ""
