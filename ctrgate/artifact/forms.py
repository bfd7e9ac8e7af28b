"""The forms in which an artifact can store its rows and compute its network, and what a form needs of a processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

__all__ = ["NEEDS", "Form", "RowForm", "cpu_flags"]

RowForm = Literal["float32", "float16", "int8"]
"""How rows of tables are stored, see ``artifact.rows``."""
Form = Literal["fp32", "bf16"]
"""How the network is computed from them: in float32, or with its products in bfloat16."""
NEEDS: Mapping[Form, tuple[str, ...]] = {"fp32": (), "bf16": ("avx512_bf16",)}
"""The flags of a processor without which a form would be computed otherwise than it was proven, and slowly."""
_CPU = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """The flags of this machine's processor as Linux tells them; none elsewhere."""
    try:
        text = _CPU.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()
