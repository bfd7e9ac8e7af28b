"""Which model a job scores with: a folder, or a version of a registered model that the job keeps once it has begun."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrgate.artifact.manifest import identity
from ctrgate.errors import ConfigError
from ctrgate.folders import is_artifact
from ctrgate.tracking import DATA, TrackingConfig

__all__ = ["Model", "resolve"]

_SCHEME = "models:/"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that was found.

    Args:
        folder: Of the artifact.
        reference: What the run file says.
        name: Of the registered model; none for a folder.
        version: Its number there; none for a folder.
        identity: Of the artifact, as the registry says; empty where it was not asked.
    """

    folder: Path
    reference: str
    name: str | None = None
    version: int | None = None
    identity: str = ""


def resolve(
    reference: str, *, tracking: TrackingConfig, pinned: Mapping[str, Any] | None = None, verify: bool = False
) -> Model:
    """Find a model.

    Args:
        reference: A folder, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        tracking: The store whose registry is asked; it is not touched for a folder.
        pinned: What a job that is gone on with has recorded of its model: its version stays, whatever an alias names
            by now, and the registry is asked only where the recorded folder holds another model.
        verify: Whether the registry is asked in any case, for the identity that it has of the version.

    Raises:
        ConfigError: Where there is no such model, it is not on this machine, or the registry does not answer.
    """
    if not reference.startswith(_SCHEME):
        return Model(folder=Path(reference), reference=reference)
    written = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))", reference)
    if written is None:
        raise ConfigError(f"score.model: {reference!r} is not written models:/NAME@ALIAS or models:/NAME/VERSION")
    number = int(written["version"]) if written["version"] else None
    if pinned is not None and pinned.get("reference") == reference:
        number, folder = int(pinned["version"]), Path(pinned["folder"])
        if not verify and is_artifact(folder) and identity(folder) == pinned["identity"]:
            return Model(folder=folder, reference=reference, name=written["name"], version=number)
    return _registered(reference, name=written["name"], alias=written["alias"], number=number, tracking=tracking)


def _registered(reference: str, *, name: str, alias: str | None, number: int | None, tracking: TrackingConfig) -> Model:
    from ctrgate.registry import Registry, answering  # MLflow is needed here alone

    with answering(tracking):
        registry = Registry(tracking, model=name)
        if number is None:
            aliases = registry.aliases()
            if alias not in aliases:
                known = ", ".join(sorted(aliases)) or "none"
                raise ConfigError(f"score.model: {reference} is not there; {name} has the aliases: {known}")
            number = aliases[alias]
        version = registry.version(number)
    folder = Path(version.artifact)
    if not is_artifact(folder):
        raise ConfigError(
            f"score.model: version {number} of {name} is not on this machine (looked in {folder}); copy its artifact "
            f"here from {version.source}/{DATA} and name the folder"
        )
    if identity(folder) != version.identity:
        raise ConfigError(
            f"score.model: {folder} no longer holds version {number} of {name}; copy its artifact from "
            f"{version.source}/{DATA} and name the folder"
        )
    return Model(folder=folder, reference=reference, name=name, version=number, identity=version.identity)
