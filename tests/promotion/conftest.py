"""Runs to promote, a store to promote them in, and comparisons made by hand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ctrgate.config import load
from ctrgate.registry import Registry, Version, champion_of
from ctrgate.tracking import TrackingConfig, connect

RUNS = ("first", "second", "third")


@pytest.fixture(scope="session")
def exported(dense_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three artifacts that differ in what they allow, ``first``, ``second`` and ``third``; and an evaluation."""
    place = tmp_path_factory.mktemp("exported")
    for number, name in enumerate(RUNS, start=2):
        dense_run("export", f"export.into={place / name / 'artifact'}", f"export.tolerance.float32={number}e-5")
    dense_run("evaluate", "evaluate.splits=[test]")
    shutil.copytree(dense_run.artifact.parent / "evaluation", place / "first" / "evaluation")
    return place


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without anything; MLflow takes seconds to lay one out."""
    place = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(TrackingConfig(uri=f"sqlite:///{place}")).search_experiments()
    return place


@dataclass(frozen=True, kw_only=True)
class World:
    """A working folder with runs and a store of its own."""

    folder: Path
    run_file: Path
    tracking: TrackingConfig

    def __call__(self, verb: str, name: str, *overrides: str) -> dict[str, Any]:
        """Run a verb for a run."""
        module = import_module(f"ctrgate.{verb}")
        result: dict[str, Any] = module.run(load(self.run_file, module.Config, [*self.overrides(name), *overrides]))
        return result

    def overrides(self, name: str) -> list[str]:
        """What the run file must be told."""
        place = {"uri": self.tracking.uri, "artifacts": self.tracking.artifacts}
        return [f"name={name}", f"runs={self.folder / 'runs'}", f"tracking={json.dumps(place)}"]

    def promote(self, name: str, *overrides: str, against: str | None = None, **changes: Any) -> dict[str, Any]:
        """Promote a run, after a comparison by hand with another one where one is named."""
        if against is None:
            return self("promote", name, "promote.rules.calibration=null", *overrides)
        return self("promote", name, f"promote.comparison={self.compared(name, against, **changes)}", *overrides)

    def compared(self, name: str, against: str, **changes: Any) -> Path:
        """A comparison of two runs' artifacts, by hand."""
        file = self.folder / f"{name}-{against}.json"
        file.write_text(json.dumps(comparison(self.side(against), self.side(name), **changes)))
        return file

    def side(self, name: str) -> dict[str, Any]:
        """A run's artifact as a side of a comparison."""
        from ctrgate.artifact.manifest import Manifest, identity

        place = self.folder / "runs" / name / "artifact"
        step = Manifest.read(place).origin.step
        return {
            "name": name,
            "kind": "artifact",
            "place": str(place),
            "read": "encoded rows",
            "model": "final_mlp",
            "step": step,
            "identity": identity(place),
        }

    def record(self, name: str, file: str = "promotion.json") -> dict[str, Any]:
        """What a verb left beside a run."""
        found: dict[str, Any] = json.loads((self.folder / "runs" / name / file).read_text())
        return found

    def another_store(self, name: str, *, like: Path) -> World:
        """The same folder with a copy of a database under a new name: one that was replaced would be read stale."""
        shutil.copy(like, self.folder / name)
        return dataclasses.replace(self, tracking=local(self.folder, name))

    @property
    def registry(self) -> Registry:
        """The model's versions."""
        return Registry(self.tracking, model="small")

    @property
    def champion(self) -> Version | None:
        """The champion."""
        return champion_of(self.tracking, model="small")

    def aliases(self) -> dict[str, str]:
        """The run that each alias names."""
        return {alias: Path(version.run).name for version in self.registry.versions() for alias in version.aliases}


@pytest.fixture
def world(dense_run: Any, exported: Path, empty_store: Path, tmp_path: Path) -> World:
    """Three exported runs and an empty store."""
    shutil.copytree(exported, tmp_path / "runs")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return World(folder=tmp_path, run_file=dense_run.yaml, tracking=local(tmp_path))


def local(folder: Path, name: str = "mlflow.db") -> TrackingConfig:
    """A store of a folder."""
    return TrackingConfig(uri=f"sqlite:///{folder / name}", artifacts=str(folder / "artifacts"))


def measured(value: float | None, error: float | None, degrees: float = 1_000.0) -> dict[str, float | None]:
    """A metric as a comparison has it, with its 95 % interval."""
    from ctrgate.metrics.measured import Measured

    unknown = float("nan")
    of = Measured(
        value=unknown if value is None else value,
        standard_error=unknown if error is None else error,
        degrees=degrees,
    )
    return of.to_json()


def segment_line(value: str, low: float | None, high: float | None, *, small: bool = False) -> dict[str, Any]:
    """A line of a segment, of which only AUC is told."""
    together = None if low is None else {"low": low, "high": high}
    return {"value": value, "small": small, "auc": {"simultaneous": together}}


def comparison(a: dict[str, Any], b: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A comparison that every rule lets pass, but for the changes by name."""
    figures: dict[str, Any] = {
        "auc": measured(0.002, 0.0005),
        "normalized_entropy": measured(-0.001, 0.0005),
        "log_loss": measured(-0.0005, 0.0002),
        "calibration": measured(1.02, 0.03),
        "lines": [segment_line("phone", -0.004, 0.006)],
        "psi": 0.01,
        **changes,
    }
    metrics = {
        name: {"larger_is_better": name == "auc", "difference": figures[name]}
        for name in ("auc", "normalized_entropy", "log_loss")
    }
    ratio = {"larger_is_better": None, "b": figures["calibration"]}
    return {
        "format_version": 1,
        "a": a,
        "b": b,
        "rows": {"split": "test", "label": "click"},
        "metrics": {**metrics, "calibration_ratio": ratio},
        "segments": {"num_intervals": 1, "segments": {"device": {"num_values": 1, "lines": figures["lines"]}}},
        "scores": {"stability_index": figures["psi"]},
        "sentence": "B is better by 0.0020 [0.0010, 0.0030] in AUC (0.7320 against 0.7300).",
    }
