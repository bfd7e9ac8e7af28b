"""A new SQLite store of MLflow, which is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["make_whole"]


def make_whole(path: Path, open_store: Callable[[str], object]) -> None:
    """Let MLflow make its tables in a file beside the store's place, and link it there once they are all made.

    SQLite keeps each table as it is made, so a kill in between would leave a store that MLflow can neither use nor
    mend.

    Args:
        path: The store; one that another process has put there meanwhile is left as it is.
        open_store: Opens the store at a URI, with all of its tables.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        open_store(f"sqlite:///{temporary}")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
