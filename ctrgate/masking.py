"""Secrets kept out of logs, pages and trackers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["masked"]

_NAME = re.compile(r"password|passwd|secret|token|credential|api_?key|access_?key", re.IGNORECASE)
_QUERY = re.compile(r"([?&][^=&\s]*(?:password|secret|token|credential|key|sig)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
_USER_IN_URI = re.compile(r"(?<=://)[^/@\s]+@")


def masked(value: Any) -> Any:
    """The same plain values, with passwords and tokens in URIs, and texts under names that say so, as ``***``.

    Example:
        >>> masked({"uri": "http://me:pass@host/a?token=1", "password": "x", "num_tokens": 3})
        {'uri': 'http://***@host/a?token=***', 'password': '***', 'num_tokens': 3}
    """
    if isinstance(value, str):
        return _QUERY.sub(r"\1***", _USER_IN_URI.sub("***@", value))
    if isinstance(value, Mapping):
        return {
            name: "***" if isinstance(inner, str) and _NAME.search(str(name)) else masked(inner)
            for name, inner in value.items()
        }
    return [masked(inner) for inner in value] if isinstance(value, list | tuple) else value
