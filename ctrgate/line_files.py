"""Text files that grow by a line at a time and outlive a kill at any point."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["append_line", "whole_lines"]


def append_line(path: Path, text: str) -> None:
    """Add a line that is on the disk before this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path, *, cut: bool = False) -> list[str]:
    """The lines that were written to their end, none where there is no file; what a kill cut short is left out.

    Args:
        path: The file.
        cut: Whether the file loses what was cut short, as it must before a line is added.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if cut and whole != text:
        os.truncate(path, len(whole.encode()))
    return whole.split("\n")[:-1]  # other ends of lines may stand in a text
