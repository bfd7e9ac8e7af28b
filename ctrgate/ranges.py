"""Numbers within bounds, as settings have them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Count", "Fraction", "NotNegative", "Positive", "Share"]

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
"""Of what is left out, where all of it cannot be."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""From none to all."""
