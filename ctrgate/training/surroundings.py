"""What a result may depend on besides settings and data."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import polars as pl
import torch

__all__ = ["surroundings"]

_PACKAGES = (
    *("ctrgate", "torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu"),
    *("polars", "pyarrow", "numpy", "mlflow", "ray"),
)


def surroundings() -> dict[str, Any]:
    """Versions, the processor, the number of threads."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "versions": versions,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "polars_threads": pl.thread_pool_size(),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }
