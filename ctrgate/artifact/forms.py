"""The forms in which an artifact can store its rows and compute its network, and what a form needs of a processor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

__all__ = ["COMPILED", "Form", "RowForm", "compiled_part", "cpu_flags", "is_bf16", "needs"]

RowForm = Literal["float32", "float16", "int8"]
"""How rows of tables are stored, see ``artifact.rows``."""
Form = Literal["fp32", "bf16", "compiled", "compiled_bf16"]
"""How the network is computed from them: in float32, or with its products in bfloat16; by torch, or as a library."""
COMPILED: tuple[Form, ...] = ("compiled", "compiled_bf16")
_CPU = Path("/proc/cpuinfo")
_INSTRUCTIONS = re.compile(
    r"avx|amx|s?sse|fma|f16c|bmi|abm|popcnt|movbe|movdir|gfni|vaes|vpclmul|pclmul|adx|sha_|aes|sve|asimd"
)


def is_bf16(form: Form) -> bool:
    """Whether products are in bfloat16."""
    return form in ("bf16", "compiled_bf16")


def compiled_part(form: Form) -> str:
    """Where the library of a compiled form lies in an artifact."""
    return f"compiled/{form}.pt2"


def needs(form: Form) -> tuple[str, ...]:
    """The flags of a processor without which a form cannot be computed as it was proven here.

    A library may use every instruction of the machine that has compiled it; without products of its own, bfloat16 is
    slow.
    """
    if form in COMPILED:
        return tuple(sorted(flag for flag in cpu_flags() if _INSTRUCTIONS.match(flag)))
    return ("avx512_bf16",) if form == "bf16" else ()


def cpu_flags() -> frozenset[str]:
    """The flags of this machine's processor as Linux tells them; none elsewhere."""
    try:
        text = _CPU.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()
