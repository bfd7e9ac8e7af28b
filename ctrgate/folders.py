"""What a folder holds, told by the names of its files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ENCODER", "MANIFEST", "NETWORK", "STEP", "is_artifact", "is_prepared", "step_of"]

MANIFEST, NETWORK, ENCODER = "manifest.json", "network.json", "encoder"
"""What is in it, its network, and the folder of its encoder; prepared folders have no network."""
STEP = "step-"
"""Begins the name of a checkpoint, which ends in its step."""


def is_artifact(folder: Path) -> bool:
    """Whether an exported model lies there."""
    return (folder / MANIFEST).is_file() and (folder / NETWORK).is_file()


def is_prepared(folder: Path) -> bool:
    """Whether prepared rows lie there."""
    return (folder / MANIFEST).is_file() and not (folder / NETWORK).exists()


def step_of(checkpoint: str) -> int:
    """The step of a checkpoint's name.

    Example:
        >>> step_of("step-00000042")
        42
    """
    return int(checkpoint.removeprefix(STEP))
