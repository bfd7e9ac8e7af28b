"""Settings that were added after folders had been written, and how those folders stay valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["without_additions"]

# Each with the value that asks for what was done before it came.
_ADDED: Mapping[str, Any] = {"log": None, "unknown_when_scoring": False, "train_rows": "all"}


def without_additions(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain values, without those that were added later where they ask for what was done before.

    So what was prepared or fitted before a setting was added still is what the same settings would make.
    """
    return {name: value for name, value in values.items() if name not in _ADDED or value != _ADDED[name]}
