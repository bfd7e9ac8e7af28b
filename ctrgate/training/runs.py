"""The folder of one run: what lies where, and the trained model put together again from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ctrgate.config import Place, load, read, settings, to_yaml
from ctrgate.errors import ArtifactError, ConfigError
from ctrgate.features.dataset import DatasetConfig
from ctrgate.features.layout import Layout
from ctrgate.features.prepared import Prepared, PrepareSettings
from ctrgate.features.sampling import logit_shifts
from ctrgate.files import atomic_file, write_json
from ctrgate.folders import step_of
from ctrgate.line_files import append_line, whole_lines
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import TablesConfig
from ctrgate.training.checkpoint import Checkpoints, load_weights, weights_checksum
from ctrgate.training.model import CtrModel, build_model
from ctrgate.training.objective import ClickConfig, ObjectiveConfig
from ctrgate.training.selection import SelectConfig
from ctrgate.training.settings import TrainSettings
from ctrgate.training.surroundings import surroundings

__all__ = ["BESIDE", "Restored", "RunFolder", "RunSettings", "restore", "settings_of"]

BESIDE = ("name", "runs", "tracking", "cluster")
"""Sections that say where a run is, goes and is logged, not what it is."""
# A run may be resumed with others of these: they say where and how often, not what. With another number of workers, or
# on another device, it ends as another run of the same settings would (docs/scale.md), not with the same bits.
_FREE = (
    ("train", "checkpoint_every"),
    ("train", "restart"),
    ("train", "workers"),
    ("train", "device"),
    ("prepare", "workers"),
    ("prepare", "dry_run"),
)


@settings
class RunSettings:
    """What is needed to build a run's model again."""

    name: str
    """Names the run and its folder."""
    seed: int = 0
    """Decides the start of every weight, the order of rows, and dropout."""
    runs: Place = "runs"
    """Where run folders lie."""
    dataset: DatasetConfig
    """The rows and what they mean."""
    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    """Where the prepared files lie."""
    tables: TablesConfig = field(default_factory=TablesConfig)
    """Embedding tables."""
    model: ModelConfig
    """The network."""
    objective: ObjectiveConfig = field(default_factory=ClickConfig)
    """What is minimised."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """How it is fitted."""
    select: SelectConfig | None = None
    """A search for the values that keep their rows, before training; null for none."""

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(Path(self.runs) / self.name)


@dataclass(frozen=True)
class RunFolder:
    """``runs/NAME``: what ``train`` writes, and what the verbs after it add.

    - A training: config.yaml, environment.json, metrics.jsonl, model.json, checkpoints/; selection.json where values
      were searched; workers.log and ray/ where workers trained.
    - Its tracking: mlflow_run.json, mlflow_sent, mlflow_spool.jsonl while records wait, figures/.
    - Later: evaluation/, widths.json and widths.yaml, report/, artifact/, reproduction/.
    - A search of that name: tune/, trials/.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved run file."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Checkpoints:
        """The saved states."""
        return Checkpoints(self.path / "checkpoints")

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def begin(self, config: Mapping[str, Any], *, seed: int, prepared: Prepared) -> None:
        """Write the run's settings and surroundings, or see that a run to be resumed has the same settings.

        Raises:
            ConfigError: Where the folder holds a run with other settings or other data.
        """
        environment = _environment(seed, prepared)
        if self.config.exists():
            differing = _differences(self.settings(), config)
            if self.environment()["encoder"] != environment["encoder"]:
                differing.append("the prepared data")
            if differing:
                raise ConfigError(
                    f"{self.path} holds a run with other settings ({', '.join(differing)}); choose another name, "
                    "or set train.restart=true to throw that run away"
                )
            return
        write_json(self.path / "environment.json", {**environment, **_start(config)})
        with atomic_file(self.config) as temporary:  # comes last: where it is, a run has begun
            temporary.write_text(to_yaml(config))

    def settings(self) -> dict[str, Any]:
        """The resolved run file by section, as it was trained; passwords in it are masked."""
        return read(self.config)

    def environment(self, *, needed: Sequence[str] = ("encoder",)) -> dict[str, Any]:
        """What the run was made from: its seed, the encoder's hash, raw files, versions, the processor, threads.

        Args:
            needed: What the caller reads of it.

        Raises:
            ArtifactError: Where environment.json is damaged or lacks what is needed.
        """
        path = self.path / "environment.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name in needed:
                found[name]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path} cannot be read ({error!r}), so that nothing tells what the run was made from; train it again"
            ) from error
        return found

    def append_metrics(self, line: Mapping[str, float]) -> None:
        """Add one line to metrics.jsonl."""
        append_line(self._metrics, json.dumps(line))

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl; a last line cut by a kill is left out."""
        return [json.loads(line) for line in whole_lines(self._metrics)]

    def cut_metrics(self, *, after_epoch: int) -> None:
        """Keep the lines of that many epochs: a resumed run writes later ones again."""
        kept = [line for line in self.metrics() if line["epoch"] <= after_epoch]
        with atomic_file(self._metrics) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A trained model with what it was trained on."""

    settings: RunSettings
    model: CtrModel
    layout: Layout
    prepared: Prepared
    checkpoint: Path

    @property
    def step(self) -> int:
        """Of the checkpoint."""
        return step_of(self.checkpoint.name)

    @property
    def logit_shifts(self) -> tuple[float, ...]:
        """What is added to each label's logits, since train's negatives were sampled; a model of items has none."""
        if not isinstance(self.settings.objective, ClickConfig):
            return ()
        return logit_shifts(self.layout.labels, self.prepared.manifest.negative_sampling_rate)


def settings_of(folder: RunFolder) -> RunSettings:
    """What a run was made by.

    Raises:
        ConfigError: Where there is no such run.
    """
    if not folder.config.exists():
        raise ConfigError(f"{folder.path} holds no run; run ctrgate train with the same run file first")
    return load(folder.config, RunSettings)


def restore(folder: RunFolder, *, which: Literal["best", "last"] = "best") -> Restored:
    """The model of a run at one of its checkpoints, in evaluation mode.

    Raises:
        ConfigError: Where there is no such run or it has no checkpoint yet.
        ArtifactError: Where a checkpoint is damaged, or the prepared data is no longer that of the run.
    """
    settings = settings_of(folder)
    checkpoint = folder.checkpoints.find(which)
    if checkpoint is None:
        remedy = "let ctrgate train end an epoch first"
        if which == "best" and settings.select is not None:
            after = f"let ctrgate train end epoch {settings.select.epochs + 1} first"
            remedy = f"a search for values (select) has none before it ends: {after}"
        raise ConfigError(f"{folder.path} has no {which} checkpoint yet; {remedy}")
    prepared = Prepared.open(settings.prepare.folder(settings.dataset), dataset=settings.dataset)
    known = folder.environment()["encoder"]
    if known != prepared.manifest.encoder:
        raise ArtifactError(
            f"{prepared.folder} was prepared anew since {folder.path} was trained (its encoder is "
            f"{prepared.manifest.encoder[:12]}, the run's {known[:12]}), so its ids mean other values; prepare the "
            "same data again or train again"
        )
    model = build_model(
        settings.model,
        layout=prepared.layout,
        tables=settings.tables,
        seed=settings.seed,
        select=settings.select,
        precision=settings.train.precision,
    )
    load_weights(model, checkpoint)
    return Restored(
        settings=settings, model=model.eval(), layout=prepared.layout, prepared=prepared, checkpoint=checkpoint
    )


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that differ, by path; only those that a run must keep."""
    compared = [name for name in {**earlier, **now} if name not in BESIDE]
    found = [path for name in compared for path in _paths(earlier.get(name), now.get(name), (name,))]
    if (now.get("train") or {}).get("workers"):  # only they cut tables, and where columns are cut the rule is another
        found += _paths(_sharding(earlier), _sharding(now), ("cluster", "sharding"))
    return found


def _sharding(config: Mapping[str, Any]) -> Any:
    return (config.get("cluster") or {}).get("sharding")


def _paths(one: Any, other: Any, at: tuple[str, ...]) -> list[str]:
    if at in _FREE or one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        return [path for key in {**one, **other} for path in _paths(one.get(key), other.get(key), (*at, str(key)))]
    return [".".join(at)]


def _environment(seed: int, prepared: Prepared) -> dict[str, Any]:
    return {
        "seed": seed,
        **surroundings(),
        "encoder": prepared.manifest.encoder,
        "sources": [{"path": source.path, "sha256": source.sha256} for source in prepared.manifest.sources],
    }


def _start(config: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that a run starts warm from; nothing for one that starts from its seed."""
    warm = (config.get("train") or {}).get("warm_start")
    checkpoint = None if warm is None else RunFolder(Path(warm["run"])).checkpoints.find(warm["which"])
    if checkpoint is None:
        return {}
    return {"warm_start": {"checkpoint": checkpoint.name, "weights": weights_checksum(checkpoint)}}
