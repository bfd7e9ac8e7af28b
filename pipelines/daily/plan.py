"""What one command of the daily pipeline works with: the run file's sections, the days' folders, the champion."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ctrgate.config import SECTIONS, Place, load, settings
from ctrgate.errors import ConfigError
from ctrgate.registry import versions_of
from ctrgate.tracking import TrackingConfig
from pipelines.daily.periods import Files, periods
from pipelines.daily.settings import DailySettings

__all__ = ["DECIDED", "LEARNT", "Champion", "Plan", "prepared_of"]

DECIDED = "day.json"
"""In a day's folder: what was decided."""
LEARNT = "daily.json"
"""In a run's folder: the raw files that its weights have learnt from, and where its rows are prepared."""


@settings
class _Read:
    """The sections that the pipeline itself reads."""

    name: str
    runs: Place = "runs"
    daily: DailySettings
    tracking: TrackingConfig = dataclasses.field(default_factory=TrackingConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Champion:
    """The model that was promoted last: the one that challengers go on from and are compared with.

    Args:
        version: Its number in the registry.
        run: The folder of its run.
        artifact: The folder of its artifact.
        served: The artifact that scores: that of its refit, where there is one, else its own.
    """

    version: int
    run: str
    artifact: str
    served: str

    @cached_property
    def learnt(self) -> Mapping[str, str]:
        """The raw files that it has learnt from, by path with their checksums; none where a person promoted it."""
        path = Path(self.run) / LEARNT
        files: Mapping[str, str] = json.loads(path.read_text())["files"] if path.exists() else {}
        return files

    @property
    def has_dropped(self) -> bool:
        """Whether it has dropped values for good (the section ``select``)."""
        return (Path(self.run) / "selection.json").exists()

    @cached_property
    def prepared(self) -> str:
        """The folder of its prepared rows, whose encoder grows."""
        return prepared_of(self.run)


def prepared_of(run: str) -> str:
    """The folder of a run's prepared rows."""
    written = yaml.safe_load((Path(run) / "config.yaml").read_text())
    return str(written["prepare"]["into"] or f"prepared/{written['dataset']['name']}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One run file, read for the daily pipeline.

    Args:
        name: Of the run file, and of the folders of days and scores.
        runs: Where run folders lie.
        sections: All sections of the run file as plain values.
        daily: The pipeline's own.
        tracking: Where the registry is.
    """

    name: str
    runs: Path
    sections: Mapping[str, Any]
    daily: DailySettings
    tracking: TrackingConfig

    @classmethod
    def read(cls, run_file: str | Path, *, overrides: tuple[str, ...] = ()) -> Plan:
        """Read a run file.

        Raises:
            ConfigError: Where it is not valid, or does not suit a pipeline over days.
        """
        plain = dataclasses.make_dataclass("Plain", [(name, Any, None) for name in SECTIONS])
        sections = {name: value for name, value in vars(load(run_file, plain, overrides)).items() if value is not None}
        read = load(run_file, _Read, overrides)
        dataset = sections.get("dataset") or {}
        if dataset.get("files") or dataset.get("split"):
            raise ConfigError(
                f"{run_file}: dataset.files and split part rows by themselves, but here a day's files do; give "
                "dataset.splits.train (for ctrgate schema) in their place"
            )
        logs = [f.get("name") for f in dataset.get("features", ()) if f.get("log") is not None]
        if logs and read.daily.warm_start:
            raise ConfigError(
                f"{run_file}: {', '.join(logs)} is built from the log of all rows, of which a warm start reads the new "
                "files alone; set daily.warm_start: false"
            )
        calibrated = ((sections.get("export") or {}).get("calibrate") or {}).get("method", "none")
        if read.daily.refit and calibrated != "none":
            raise ConfigError(
                f"{run_file}: export.calibrate.method: {calibrated} needs rows that a refit has not learnt, and it "
                "learns all; set it to none, or daily.refit: false"
            )
        return cls(name=read.name, runs=Path(read.runs), sections=sections, daily=read.daily, tracking=read.tracking)

    @property
    def home(self) -> Path:
        """Where the days' records lie."""
        return Path(self.daily.folder) / self.name

    @property
    def dataset(self) -> str:
        """The dataset's name, by which the registry knows the model."""
        return str(self.sections["dataset"]["name"])

    @property
    def model(self) -> str:
        """The model's name in the registry."""
        return str((self.sections.get("promote") or {}).get("model") or self.dataset)

    @cached_property
    def files(self) -> Files:
        """The raw files of each period."""
        return Files(self.daily, memory=self.home / "checksums.json")

    def compacts(self, day: date) -> bool:
        """Whether the rows of retired values are given up on a day."""
        every = self.daily.compact_every
        return (
            every is not None and sum(1 for _ in periods(self.daily.first, day, period=self.daily.period)) % every == 0
        )

    def folder(self, day: date) -> Path:
        """A day's folder."""
        return self.home / day.isoformat()

    def decided(self, day: date) -> Mapping[str, Any] | None:
        """A day's record, once it is decided; none of a day that was stopped and whose files have changed since."""
        path = self.folder(day) / DECIDED
        record: Mapping[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        if record is not None and record["status"] == "stopped" and record["files"] != self.files.of(day):
            return None
        return record

    def all_decided(self) -> list[Mapping[str, Any]]:
        """The records of all days, in order."""
        return [json.loads(path.read_text()) for path in sorted(self.home.glob(f"*/{DECIDED}"))]

    def champion(self) -> Champion | None:
        """The model that is in service now."""
        versions = {each.version: each for each in versions_of(self.tracking, model=self.model)}
        served = next((each for each in versions.values() if "champion" in each.aliases), None)
        if served is None:
            return None
        found = served if served.refit_of is None else versions[served.refit_of]
        return Champion(version=found.version, run=found.run, artifact=found.artifact, served=served.artifact)
