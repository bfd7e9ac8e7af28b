"""Put the champion before the present one back in service, and the present one in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctrgate.config import settings
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.progress import console
from ctrgate.promotion.record import FORMAT_VERSION, keep, shown
from ctrgate.promotion.settings import RegistrySettings
from ctrgate.registry import Registry, Version, answering
from ctrgate.succession import Move, append, project, settle, turn

__all__ = ["Config", "run"]

RECORD = "rollback.json"


@settings
class Config(RegistrySettings):
    """The sections that ``rollback`` reads."""


def run(config: Config) -> dict[str, Any]:
    """Move ``champion`` to what ``previous`` names, and ``previous`` to the champion until now.

    A rollback that was stopped once it had begun is completed by the next one, which then does no more than that.
    Otherwise a second rollback takes the first back; ``promote.withdraw`` makes it safe to repeat.

    Returns:
        The record's file, the model's name, and the numbers of champion and previous champion.

    Raises:
        ConfigError: No champion or no previous one, or a store that does not answer.
        HeldBackError: Where another process has moved the champion meanwhile.
    """
    with answering(config.tracking):
        registry = Registry(config.tracking, model=config.model)
        file = Path(config.runs) / config.name / RECORD
        with turn(registry):
            completed = settle(registry)
            champion, previous = registry.named("champion"), registry.named("previous")
            withdrawn = config.promote.withdraw
            if completed is not None and completed.kind == "rollback":
                return _told(registry, file, text="a rollback that was cut short is complete")
            if withdrawn is not None and (champion is None or champion.version != withdrawn):
                return _told(registry, file, text=f"version {withdrawn} is not the champion; nothing is changed")
            champion, previous = _both(registry, champion, previous)
            record = {
                "format_version": FORMAT_VERSION,
                "verdict": "rolled back",
                "model": registry.model,
                "champion_before": shown(champion),
                "champion_after": shown(previous),
            }
            keep(file, record)
            registry.tag(champion.version, {"ctrgate.withdrawn_for": str(previous.version)})
            registry.log(champion.version, file=file, figures={})
            move = Move(kind="rollback", start=champion.version, to=previous.version, previous=champion.version)
            won = append(registry, move)
            project(registry)
        if not won:
            raise HeldBackError(
                f"the champion of {registry.model} was moved by another process at the same time; look, and roll back "
                "again if it is still wanted"
            )
        return _told(registry, file, text=f"version {champion.version} is withdrawn")


def _both(registry: Registry, champion: Version | None, previous: Version | None) -> tuple[Version, Version]:
    if champion is None:
        raise ConfigError(f"{registry.model} has no champion, so there is nothing to roll back; promote a run first")
    if previous is None:
        raise ConfigError(
            f"{registry.model} has had no champion before version {champion.version}; promote another run instead"
        )
    if previous.version == champion.version:
        raise ConfigError(
            f"previous and champion of {registry.model} both name version {champion.version}: somebody has set them; "
            "set previous to the version that is wanted, or promote another run"
        )
    return champion, previous


def _told(registry: Registry, file: Path, *, text: str) -> dict[str, Any]:
    aliases = registry.aliases()
    console.print(f"{registry.model}: {text}; the champion is version {aliases.get('champion')}", markup=False)
    return {
        "rollback": str(file),
        "model": registry.model,
        "champion": aliases.get("champion"),
        "previous": aliases.get("previous"),
    }
