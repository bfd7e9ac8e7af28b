"""The section ``reproduce`` of a run file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ctrgate.comparison.rows import HeldOut
from ctrgate.config import settings

__all__ = ["ReproduceSettings"]


@settings
class ReproduceSettings:
    """On which rows the two are compared, and how."""

    split: HeldOut | None = None
    """The rows: by default test, or valid where the dataset has no test."""
    which: Literal["best", "last"] = "best"
    """The checkpoint of both."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of the intervals of the differences."""
    threads: Literal["run", "here"] = "run"
    """Threads of torch, where ``train.threads`` leaves them open: as many as the run had, or what is usual here."""
    restart: bool = False
    """Throw away an earlier reproduction and begin again."""
