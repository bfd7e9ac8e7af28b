"""Promotions and rollbacks that are killed between any two of their effects, and run again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ctrgate.errors import HeldBackError
from ctrgate.promotion import record

EFFECTS = (
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "log_artifacts",
    "log_artifact",
    "log_metric",
)
DECIDE: dict[str, Callable[[Any], None]] = {
    "promotion": lambda world: world.promote("second", "promote.rules.parity=false", against="first"),
    "held": lambda world: held(world),
    "rollback": lambda world: world("rollback", "third", "promote.withdraw=2"),
}


class Killed(BaseException):
    """What a kill looks like from within."""


def held(world: Any) -> None:
    with pytest.raises(HeldBackError):
        world.promote("third", "promote.rules.parity=false", against="first", psi=1.0)


@contextmanager
def killed_before(count: int | None) -> Iterator[list[str]]:
    """Let an effect, counted from 0, not happen, nor any after it; gives the names of those that did."""
    done: list[str] = []

    def wrapped(name: str, effect: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if len(done) == count:
                raise Killed
            result = effect(*arguments, **named)
            done.append(name)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in EFFECTS:
            patch.setattr(MlflowClient, name, wrapped(name, getattr(MlflowClient, name)))
        patch.setattr(record, "write_json", wrapped("write_json", record.write_json))
        yield done


def everything(world: Any) -> dict[str, Any]:
    """All that is left of decisions, but for times and MLflow's own identifiers."""
    registry = world.registry
    files = sorted((world.folder / "runs").glob("*/*.json"))
    return {
        "aliases": world.aliases(),
        "versions": [(each.version, each.run, dict(each.tags)) for each in registry.versions()],
        "moves": [dict(each.tags) for each in registry.entries("small.moves")],
        "files": {
            f"{path.parent.name}/{path.name}": path.read_text() for path in files if path.name != "mlflow_run.json"
        },
        "copied": sorted(path.name for path in Path(registry.config.artifacts).glob("*/artifacts/model/*")),
        "charts": [
            registry.client.get_run(registry.client.get_model_version("small", str(each.version)).run_id).data.metrics
            for each in registry.versions()
        ],
    }


def from_here(world: Any) -> Callable[[int], Any]:
    """What gives the world as it is now again and again, each time with a store of its own."""
    places, kept = ("runs", "artifacts"), world.folder / "kept"
    for place in places:
        shutil.copytree(world.folder / place, kept / place)
    shutil.copy(world.folder / "mlflow.db", kept)

    def again(number: int) -> Any:
        for place in places:
            shutil.rmtree(world.folder / place)
            shutil.copytree(kept / place, world.folder / place)
        return world.another_store(f"{number}.db", like=kept / "mlflow.db")

    return again


@pytest.mark.parametrize(
    ("what", "every"),
    [
        pytest.param("promotion", False, id="promotion"),
        *(pytest.param(what, True, id=f"{what}, every effect", marks=pytest.mark.slow) for what in DECIDE),
    ],
)
def test_killed_between_any_two_effects_and_run_again_it_ends_the_same(world: Any, what: str, every: bool) -> None:
    world.promote("first")
    if what == "rollback":
        world.promote("second", against="first")
    decide, again = DECIDE[what], from_here(world)
    with killed_before(None) as effects:
        decide(world)
    expected = everything(world)
    for count in range(1, len(effects)):
        if not every and effects[count] == effects[count - 1]:
            continue  # one of several tags or figures
        begun = again(count)
        with killed_before(count), pytest.raises(Killed):
            decide(begun)
        assert begun.aliases()["champion"] in {"first", "second"}  # there is one at every moment
        decide(begun)
        assert everything(begun) == expected, f"killed before {effects[count]} ({count})"
