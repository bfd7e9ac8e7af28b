"""What training on a GPU needs of the machine."""

from __future__ import annotations

from importlib import metadata

import torch

from ctrgate.errors import ConfigError

__all__ = ["need_gpu"]


def need_gpu(setting: str) -> None:
    """See that torch and FBGEMM can use a GPU.

    Args:
        setting: What asks for it.

    Raises:
        ConfigError: Where there is none, or FBGEMM's build is that for processors.
    """
    if not torch.cuda.is_available():
        raise ConfigError(f"{setting}: cuda, but torch finds no GPU here (`ctrgate doctor` tells its build); use cpu")
    try:
        metadata.version("fbgemm-gpu")
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"{setting}: cuda needs fbgemm-gpu in place of fbgemm-gpu-cpu; run make setup GPU=1"
        ) from None
