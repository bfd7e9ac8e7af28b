"""What compiling a network needs of the machine."""

from __future__ import annotations

import os
import shutil

from ctrgate.errors import ConfigError

__all__ = ["need_compiler"]


def need_compiler(setting: str, *, otherwise: str) -> None:
    """See that torch's inductor finds its C++ compiler.

    Args:
        setting: What asks for it.
        otherwise: What a user without a compiler can do.

    Raises:
        ConfigError: Where there is none.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ConfigError(f"{setting}: compiling needs the C++ compiler {compiler}; install it or {otherwise}")
