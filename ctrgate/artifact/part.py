"""Parts of an artifact that are settings: written as JSON, read as what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ctrgate.config import dump
from ctrgate.errors import ArtifactError

__all__ = ["read_part", "write_part"]

T = TypeVar("T")


def write_part(path: Path, part: Any) -> None:
    """Write settings that have a ``format_version``."""
    path.write_text(json.dumps(dump(part), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_part(path: Path, kind: type[T], *, version: int) -> T:
    """Read what ``write_part`` wrote.

    Raises:
        ArtifactError: Where it is damaged, or of another format.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format_version"] != version:
            raise ArtifactError(
                f"{path} has format {values['format_version']!r}, this version reads {version}; export the run again"
            )
        return TypeAdapter(kind).validate_python(values)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise ArtifactError(f"{path} is damaged: {error}; export the run again") from error
