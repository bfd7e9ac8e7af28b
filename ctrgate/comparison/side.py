"""What one of the two models says of every row, and where that comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Side"]

Kind = Literal["run", "artifact", "predictions"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model's logits.

    Args:
        name: Of the run, the artifact's run or the file.
        kind: What was named.
        place: Where it lies.
        read: How its logits came about: left by ``evaluate``, computed from the encoded rows, computed from the raw
            rows through an artifact's own encoder, or found in a file.
        model: The network, where known.
        step: Of the checkpoint, where known.
        identity: The artifact's identity, or the checksum of the file that was read.

    Shape:
        - logits: ``(n,)`` in the rows' order
    """

    name: str
    kind: Kind
    place: str
    read: Literal["evaluation", "encoded rows", "raw rows", "file"]
    model: str | None
    step: int | None
    identity: str | None
    logits: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """All but the logits."""
        return {name: value for name, value in vars(self).items() if name != "logits"}
