"""The names of the forms in which an artifact can store its rows and compute its network."""

from __future__ import annotations

from typing import Literal

__all__ = ["Form", "RowForm"]

RowForm = Literal["float32", "float16", "int8"]
"""How rows of tables are stored, see ``artifact.rows``."""
Form = Literal["fp32"]
"""How the network is computed from them."""
