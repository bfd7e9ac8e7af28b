"""Do a run again from its raw files, and say whether what comes out is the same, or differs within its interval."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from ctrgate.config import Place, settings
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.files import locked, write_json, writing
from ctrgate.progress import console
from ctrgate.reproduction.outcome import sentence
from ctrgate.reproduction.settings import ReproduceSettings

__all__ = ["Config", "run"]

_RESULT = "reproduction.json"


@settings
class Config:
    """The sections that ``reproduce`` reads; the rest it takes from the run's own config.yaml."""

    name: str
    """The run."""
    runs: Place = "runs"
    """Where run folders lie."""
    reproduce: ReproduceSettings = field(default_factory=ReproduceSettings)
    """On which rows the two are compared, and how."""


def run(config: Config) -> dict[str, Any]:
    """Prepare and train again under ``runs/NAME/reproduction``, compare row by row, and write reproduction.json.

    What is done of it stays done: stopped at any point, the same command goes on.

    Returns:
        ``reproduction`` (the JSON), ``verdict``, ``sentence``, ``identical``, the largest difference of a logit, and
        what of the environment differs.

    Raises:
        ConfigError: No such run, one that is not trained to its end, or one whose earlier run is gone.
        DataError: The raw files are no longer those of the run.
        HeldBackError: It came out otherwise, beyond the interval or by another encoder; reproduction.json tells.
        StageFailed: One of the verbs failed.
    """
    from ctrgate.reproduction.again import begin, reproduced  # bring torch, which the settings alone do not need
    from ctrgate.reproduction.original import open_original
    from ctrgate.training.runs import RunFolder

    original = open_original(RunFolder(Path(config.runs) / config.name))
    if original.settings.objective.name != "click":
        raise ConfigError(f"{original.folder.path} ranks items; reproduce compares clicks")
    home = original.folder.path / "reproduction"
    lock = home.with_name(".reproduction.lock")
    with locked(lock, what=f"the reproduction {home}"), writing(home, setting="runs"):
        begin(original, home, restart=config.reproduce.restart)
        original.check()
        result = reproduced(original, home, chosen=config.reproduce)
        result["sentence"] = sentence(result)
        write_json(home / _RESULT, result)
    if result["verdict"] not in ("identical", "within"):
        raise HeldBackError(f"{result['sentence']} See {home / _RESULT}")
    console.print(result["sentence"], markup=False)
    return {
        "reproduction": str(home / _RESULT),
        "verdict": result["verdict"],
        "sentence": result["sentence"],
        "identical": result["verdict"] == "identical",
        "largest_difference": max(of["largest_difference"] for of in result["labels"].values()),
        "environment": result["environment"],
    }
