"""What a folder holds, told by the names of its files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ENCODER", "MANIFEST", "NETWORK", "is_artifact", "is_prepared"]

MANIFEST, NETWORK, ENCODER = "manifest.json", "network.json", "encoder"
"""What is in it, its network, and the folder of its encoder; prepared folders have no network."""


def is_artifact(folder: Path) -> bool:
    """Whether an exported model lies there."""
    return (folder / MANIFEST).is_file() and (folder / NETWORK).is_file()


def is_prepared(folder: Path) -> bool:
    """Whether prepared rows lie there."""
    return (folder / MANIFEST).is_file() and not (folder / NETWORK).exists()
