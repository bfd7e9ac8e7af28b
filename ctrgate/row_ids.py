"""What the first rows of every table mean, to the encoder, in training and when scoring."""

from __future__ import annotations

__all__ = ["FIRST_VALUE_ID", "PADDING_ID", "UNKNOWN_ID"]

PADDING_ID = 0
"""No value: always zero, never trained."""
UNKNOWN_ID = 1
"""A value that train has not seen, or not often enough."""
FIRST_VALUE_ID = 2
"""The first row of a value."""
