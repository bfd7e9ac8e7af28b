"""A run that is to be done again: what it recorded, and whether what it was made from is still there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrgate.errors import ArtifactError, ConfigError, DataError
from ctrgate.features.prepared import Prepared, grown_from
from ctrgate.files import checksum
from ctrgate.progress import bar
from ctrgate.training.checkpoint import weights_checksum
from ctrgate.training.runs import RunFolder, RunSettings, settings_of

__all__ = ["Original", "differences", "open_original"]

_NOT_SURROUNDINGS = ("seed", "encoder", "sources", "warm_start")


@dataclass(frozen=True, kw_only=True)
class Original:
    """A run as it was recorded.

    Args:
        folder: The run's folder.
        settings: What it was made by.
        sections: The same, as its config.yaml has it.
        environment: Its environment.json.
    """

    folder: RunFolder
    settings: RunSettings
    sections: Mapping[str, Any]
    environment: Mapping[str, Any]

    def key(self) -> dict[str, str]:
        """Tells whether a reproduction that was begun is of this very run."""
        return {name: checksum(self.folder.path / name) for name in ("config.yaml", "environment.json")}

    def run_file(self, home: Path) -> dict[str, Any]:
        """The run file that does it again within ``home``: the same settings, other places, no tracking."""
        sections = {name: value for name, value in self.sections.items() if value is not None}
        return {
            **sections,
            "name": "run",
            "runs": str(home),
            "prepare": {**sections["prepare"], "into": str(home / "prepared"), "dry_run": False},
            "train": {**sections["train"], "restart": False},  # which 0.1.0 wrote as it was given
            "tracking": {"enabled": False},
        }

    def check(self) -> None:
        """See that everything the run was made from is there and as it was; hashes each raw file.

        Raises:
            ConfigError: Where the earlier run of a warm start, or the encoder that this one's grew from, is gone.
            DataError: Where raw files are gone or were changed, or the earlier run was trained anew.
        """
        previous = self.settings.prepare.previous
        if previous:
            self._check_previous(Path(previous))
        self._check_earlier()
        faults = []
        recorded = self.environment["sources"]
        with bar("checking raw files", total=len(recorded), unit="files") as progress:
            for source in recorded:
                path = Path(source["path"])
                found = checksum(path) if path.is_file() else None
                if found is None:
                    faults.append(f"{path} is gone")
                elif found != source["sha256"]:
                    faults.append(f"{path} was changed: SHA-256 {source['sha256'][:12]} then, {found[:12]} now")
                progress.advance(1)
        if faults:
            raise DataError(
                f"the raw files are not those that {self.folder.path} was trained on; put them back:\n"
                + "\n".join(f"  {fault}" for fault in faults)
            )

    def check_prepared(self, prepared: Prepared) -> None:
        """See that no other raw files were read than the run's.

        Raises:
            DataError: Where a glob now matches others.
        """
        read = {source.path: source.sha256 for source in prepared.manifest.sources}
        known = {source["path"]: source["sha256"] for source in self.environment["sources"]}
        if read != known:
            named = sorted(path for path in {**read, **known} if read.get(path) != known.get(path))
            raise DataError(
                f"dataset.files now names other files than those that {self.folder.path} was trained on "
                f"({', '.join(named[:5])}); move what was added since elsewhere"
            )

    def _check_previous(self, previous: Path) -> None:
        try:
            grown_from(previous)
        except (ConfigError, ArtifactError) as error:
            raise ConfigError(
                f"prepare.previous: the encoder of {self.folder.path} grew from that of {previous}, which cannot be "
                f"read ({error}); put that folder back"
            ) from error

    def _check_earlier(self) -> None:
        warm = self.settings.train.warm_start
        if warm is None:
            return
        earlier = RunFolder(Path(warm.run))
        checkpoint = earlier.checkpoints.find(warm.which) if earlier.config.exists() else None
        if checkpoint is None or not checkpoint.is_dir():
            raise ConfigError(
                f"train.warm_start.run: {self.folder.path} started from the {warm.which} checkpoint of "
                f"{earlier.path}, which is gone; put that run back, or reproduce it first"
            )
        recorded = self.environment.get("warm_start")
        if recorded is not None and recorded["weights"] != weights_checksum(checkpoint):
            raise DataError(
                f"train.warm_start.run: {earlier.path} was trained anew since {self.folder.path} started from its "
                f"{recorded['checkpoint']}; put that checkpoint back"
            )


def open_original(folder: RunFolder) -> Original:
    """A run that was trained to its end.

    Raises:
        ConfigError: Where there is no such run, or its training has not ended.
        ArtifactError: Where what it recorded cannot be read.
    """
    settings = settings_of(folder)
    environment = folder.environment(needed=("seed", "encoder", "sources", "versions", "threads"))
    if folder.checkpoints.find("last") is not None and not folder.checkpoints.progress().finished:
        raise ConfigError(f"{folder.path} is not trained to its end; run ctrgate train with its run file first")
    return Original(folder=folder, settings=settings, sections=folder.settings(), environment=environment)


def differences(run: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an environment.json has otherwise than another: versions, processor, threads; each ``run`` and ``here``.

    Example:
        >>> differences({"threads": 2, "versions": {"torch": "2.13"}}, {"threads": 2, "versions": {"torch": "2.14"}})
        {'torch': {'run': '2.13', 'here': '2.14'}}
    """
    then, now = _flat(run), _flat(here)
    return {name: {"run": then[name], "here": now.get(name)} for name in then if then[name] != now.get(name)}


def _flat(environment: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in environment.items() if name not in _NOT_SURROUNDINGS}
    return {**{name: value for name, value in kept.items() if name != "versions"}, **kept.get("versions", {})}
