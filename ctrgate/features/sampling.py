"""What leaving negatives out of train does to log odds, and how it is taken back."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["logit_shifts"]


def logit_shifts(labels: Sequence[str], rate: float) -> tuple[float, ...]:
    """What is added to each label's logit of a network that was trained on a share of the negatives.

    Of the rows with features x, positives are all kept and negatives with the share w. Among kept rows the odds of a
    click are those among all rows over w, ``q / (1 - q) = p / ((1 - p) w)``, whatever x is. So

    ``logit p = logit q + log w``, which is ``p = q / (q + (1 - q) / w)`` (He et al., ADKDD 2014, section 6.3).

    Sampling looks at the first label alone. How others' odds change hangs on how they go with the first, which no
    constant tells: theirs are left.

    Args:
        labels: Their names.
        rate: w, the share of negatives that were kept.

    Example:
        >>> logit_shifts(["click"], 0.5)
        (-0.693147...,)
        >>> logit_shifts(["click", "buy"], 1.0)
        (0.0, 0.0)
    """
    return tuple(math.log(rate) if place == 0 else 0.0 for place in range(len(labels)))
