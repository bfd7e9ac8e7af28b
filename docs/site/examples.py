"""For the Python pages: docstrings say ``Example``, their reader knows ``Examples``; it shows those as code."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Adds the letter."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each class, function, module and attribute that was read."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
