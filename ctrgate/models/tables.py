"""Embedding tables as a run file has them: width, start, and the rule that trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from ctrgate.config import settings
from ctrgate.ranges import Count, NotNegative, Positive, Share

__all__ = ["DenseRule", "FusedRule", "TablesConfig"]


@settings
class DenseRule:
    """Tables as ordinary parameters of the dense optimizer: the published recipes."""

    name: Literal["dense"] = "dense"
    l2: NotNegative = 0.0
    """Lambda of ``lambda / 2 * |W|^2`` over whole tables, every row in every step, coupled through the optimizer."""


@settings
class FusedRule:
    """Tables updated in the backward pass by row-wise Adagrad; a step costs what the batch looks up, not the table."""

    name: Literal["fused"] = "fused"
    learning_rate: Positive = 0.05
    """Of row-wise Adagrad."""
    eps: Positive = 1e-8
    """Added to the root of a row's sum of squares."""
    l2: NotNegative = 0.0
    """Lambda of ``lambda / 2 * mean over rows of |looked-up vectors|^2``, added to the loss."""
    decay: Share = 0.0
    """Share by which whole tables shrink at each ``decay_every`` steps; touches every row."""
    decay_every: Count = 100
    """Steps between two decays; of no meaning where ``decay`` is 0."""


@settings
class TablesConfig:
    """Embedding tables: width, start, and the rule that trains them."""

    dim: Count = 16
    """Width of every vector that ``dims`` does not name."""
    dims: Mapping[str, Count] = Field(default_factory=dict)
    """Widths of single fields (after FDO, say); the others have ``dim``."""
    init_std: NotNegative = 1e-4
    """Standard deviation of the normal start."""
    rule: Annotated[DenseRule | FusedRule, Discriminator("name")] = FusedRule()
    """How tables are trained."""
    dropout: Share = 0.0
    """Dropout on looked-up vectors."""
    unknown_share: Share = 0.0
    """Share of ids replaced by the unknown value in training, so that its row is trained; 0 in published recipes."""
