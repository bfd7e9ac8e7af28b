"""The registry: a model's versions in MLflow, each found by what it is, and the aliases that name those in service."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlparse

from ctrgate.artifact.interface import Interface, needed_packages
from ctrgate.artifact.manifest import Manifest, identity
from ctrgate.errors import ConfigError, CtrgateError
from ctrgate.folders import is_artifact
from ctrgate.masking import masked
from ctrgate.tracking import (
    DATA,
    RUN_FILE,
    RUN_TAG,
    TrackingConfig,
    connect,
    database,
    open_tracker,
    place_of,
    reason,
    write_pyfunc,
)

__all__ = ["REFIT_OF", "Alias", "Registry", "Version", "answering", "champion_of", "versions_of"]

Alias = Literal["champion", "challenger", "previous"]
_IDENTITY, _FOLDER, _STEP, _COPIED = "ctrgate.artifact", "ctrgate.folder", "ctrgate.step", "ctrgate.copied"
REFIT_OF = "ctrgate.refit_of"
"""Tag of a version that was made of another one by learning later rows: the other's number."""
_LIBRARIES = ("mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3")  # whose errors are about the store
_TAG_CHARACTERS = 4_000
# Two processes that set the same tag both insert it, and MLflow passes on what the database says to the second.
_BUSY_SIGNS = ("database is locked", "IntegrityError", "UniqueViolation", "DeadlockDetected")
_BUSY_TRIES, _BUSY_SECONDS = 8, 0.1

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a registered model.

    Args:
        version: Its number.
        run: The folder of its run, as the run file named it.
        artifact: The folder of the artifact: that of the run as long as it is there unchanged, else the store's copy.
        identity: Of the artifact.
        step: Of the checkpoint that was exported.
        source: Where MLflow keeps the model, once the version was promoted; the artifact is its folder ``artifact``.
        aliases: Those that name it now.
        tags: All of MLflow's, verdict and figures among them.
    """

    version: int
    run: str
    artifact: str
    identity: str
    step: int
    source: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def refit_of(self) -> int | None:
        """The number of the version that this one is a refit of: the one that was compared, for both."""
        return int(self.tags[REFIT_OF]) if REFIT_OF in self.tags else None


def champion_of(config: TrackingConfig, *, model: str) -> Version | None:
    """The version that the alias ``champion`` names; None where there is none, or no registry yet.

    Raises:
        ConfigError: Tracking is switched off, or the store does not answer.
    """
    return next((version for version in versions_of(config, model=model) if "champion" in version.aliases), None)


def versions_of(config: TrackingConfig, *, model: str) -> tuple[Version, ...]:
    """All versions that were judged, in the order of their numbers.

    Raises:
        ConfigError: As ``champion_of``.
    """
    place = database(config.uri)
    if config.enabled and place is not None and not place.exists():
        return ()  # asking makes no database
    with answering(config):
        return Registry(config, model=model).versions()


@contextmanager
def answering(config: TrackingConfig) -> Iterator[None]:
    """Turn what MLflow and the libraries below it say of a store into a ConfigError; the rest passes."""
    try:
        yield
    except CtrgateError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _LIBRARIES:
            raise
        raise ConfigError(f"{masked(config.uri)} does not serve as registry: {reason(error)}") from error


class Registry:
    """One registered model of a store.

    Args:
        config: The store.
        model: The model's name.

    Raises:
        ConfigError: Where tracking is switched off.
    """

    def __init__(self, config: TrackingConfig, *, model: str) -> None:
        if not config.enabled:
            raise ConfigError("promotion needs the registry of an MLflow store; set tracking.enabled=true")
        self.config, self.model = config, model
        self.client = connect(config)

    def versions(self) -> tuple[Version, ...]:
        """All versions, in order."""
        named: dict[int, list[str]] = {}
        for alias, number in self.aliases().items():
            named.setdefault(number, []).append(alias)
        found = [self._version(each, named.get(int(each.version), [])) for each in self.entries(self.model)]
        return tuple(sorted(found, key=lambda version: version.version))

    def version(self, number: int) -> Version:
        """The version of a number.

        Raises:
            ConfigError: There is none.
        """
        found = next((each for each in self.versions() if each.version == number), None)
        if found is None:
            raise ConfigError(f"{self.model} has no version {number} in {masked(self.config.uri)}")
        return found

    def find(self, artifact: str) -> Version | None:
        """The first version of an artifact, by its identity."""
        return next((version for version in self.versions() if version.identity == artifact), None)

    def named(self, alias: Alias) -> Version | None:
        """The version that an alias names."""
        return next((version for version in self.versions() if alias in version.aliases), None)

    def aliases(self) -> dict[str, int]:
        """The number that each alias names."""
        found = self.client.search_registered_models(filter_string=f"name = '{self.model}'")
        return {alias: int(number) for each in found for alias, number in each.aliases.items()}

    def entries(self, model: str) -> list[Any]:
        """All of MLflow's versions of a model; none where there is no such model."""
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_model_versions(f"name = '{model}'", max_results=1_000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def register(self, *, run: Path, artifact: Path) -> Version:
        """The version of an artifact, made where there is none; its tables stay where they are.

        Args:
            run: The run's folder, to whose MLflow run the version belongs.
            artifact: The exported folder.
        """
        name = identity(artifact)
        known = self.find(name)
        if known is not None:
            return known
        run_id = self._run_id(run)
        place = f"{self.client.get_run(run_id).info.artifact_uri}/{place_of(name)}"
        step = Manifest.read(artifact).origin.step
        tags = {_IDENTITY: name, _FOLDER: str(run), _STEP: str(step)}
        self.create(self.model, source=place, run_id=run_id, tags=tags)
        found = self.find(name)
        if found is None:
            raise ConfigError(f"{masked(self.config.uri)} does not show the version that it has just taken; try again")
        return found

    def create(self, model: str, *, source: str, run_id: str, tags: Mapping[str, str]) -> int:
        """Add a version to a model, and the model where it is missing; gives the version's number."""
        add = partial(
            self.client.create_model_version, model, source, run_id=run_id, tags=dict(tags), await_creation_for=0
        )
        try:
            return int(busy(add).version)
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            busy(partial(self.client.create_registered_model, model))
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
        return int(busy(add).version)

    def copy(self, version: Version, *, artifact: Path) -> None:
        """Copy an artifact, tables included, to where the version's source says, as a model that MLflow can serve.

        Once it is there, nothing is done.
        """
        local = _local(version.source)
        copied = None if local is None else local / DATA
        if version.tags.get(_COPIED) == version.identity and (copied is None or is_artifact(copied)):
            return
        if copied is not None and copied.exists() and not _is_whole(copied, version.identity):
            shutil.rmtree(copied)  # what a kill left; its files are read-only
        run_id = self.client.get_model_version(self.model, str(version.version)).run_id
        place = place_of(version.identity)
        if copied is None or not copied.exists():
            self.client.log_artifacts(run_id, str(artifact), f"{place}/{DATA}")
        with tempfile.TemporaryDirectory() as folder:
            self.client.log_artifacts(run_id, str(_described(artifact, Path(folder) / "model")), place)
        if copied is not None:
            Manifest.read(copied)
        self.tag(version.version, {_COPIED: version.identity})

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; those that are as they should be are left alone."""
        known = self.client.get_model_version(self.model, str(number)).tags
        for name, text in masked(tags).items():
            short = text[:_TAG_CHARACTERS]
            if known.get(name) != short:
                busy(partial(self.client.set_model_version_tag, self.model, str(number), name, short))

    def log(self, number: int, *, file: Path, figures: Mapping[str, float]) -> None:
        """Add a file and numbers to the MLflow run of a version, under ``promotion``; what is there is kept."""
        run_id = self.client.get_model_version(self.model, str(number)).run_id
        known = self.client.get_run(run_id).data.metrics
        for name, value in figures.items():
            if known.get(f"promotion/{name}") != value:
                busy(partial(self.client.log_metric, run_id, f"promotion/{name}", value))
        self.client.log_artifact(run_id, str(file), "promotion")

    def point(self, alias: Alias, number: int | None) -> None:
        """Let an alias name a version, or none."""
        if number is None:
            busy(partial(self.client.delete_registered_model_alias, self.model, alias))
        else:
            busy(partial(self.client.set_registered_model_alias, self.model, alias, str(number)))

    def _version(self, entry: Any, aliases: list[str]) -> Version:
        tags = dict(entry.tags)
        run, name, local = tags.get(_FOLDER, ""), tags.get(_IDENTITY, ""), _local(entry.source)
        own = Path(run) / "artifact"
        copy = None if local is None else local / DATA
        moved = not is_artifact(own) or identity(own) != name
        return Version(
            version=int(entry.version),
            run=run,
            artifact=str(copy if moved and copy is not None and is_artifact(copy) else own),
            identity=name,
            step=int(tags.get(_STEP, -1)),
            source=entry.source,
            aliases=tuple(sorted(aliases)),
            tags=tags,
        )

    def _run_id(self, run: Path) -> str:
        """MLflow's run of a run's folder, begun where the run was not logged."""
        for _ in range(2):
            if (run / RUN_FILE).is_file():
                token = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))["run"]
                experiment = self.client.get_experiment_by_name(self.config.experiment)
                places = [] if experiment is None else [experiment.experiment_id]
                found = places and self.client.search_runs(places, f"tags.`{RUN_TAG}` = '{token}'", max_results=1)
                if found:
                    return str(found[0].info.run_id)
            tracker = open_tracker(self.config, folder=run)
            tracker.start(run_name=run.name, params={}, tags={}, resume=True)
            tracker.end()
        raise ConfigError(f"{masked(self.config.uri)} does not take the run {run}; see that it answers, and try again")


def _described(artifact: Path, folder: Path) -> Path:
    """The folder, filled with what MLflow reads of a model."""
    asked = Interface.of(artifact)
    write_pyfunc(
        folder,
        columns=asked.columns,
        outputs=asked.outputs,
        params=asked.params,
        example=asked.example,
        packages=needed_packages(),
    )
    return folder


def busy(call: Callable[[], T]) -> T:
    """Call, and again where the database has just refused because another process was writing the same."""
    for attempt in range(_BUSY_TRIES):
        try:
            return call()
        except Exception as error:
            if attempt == _BUSY_TRIES - 1 or not any(sign in str(error) for sign in _BUSY_SIGNS):
                raise
            time.sleep(_BUSY_SECONDS * (attempt + 1))
    raise AssertionError  # the last try returns or raises


def _local(uri: str) -> Path | None:
    """The folder that a URI names on this machine; None for one elsewhere."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def _is_whole(folder: Path, name: str) -> bool:
    try:
        Manifest.read(folder)
    except CtrgateError:
        return False
    return identity(folder) == name
