"""What features learn besides vocabularies: scalings, boundaries of quantiles; and what they must have learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ctrgate.errors import ConfigError
from ctrgate.features.kinds.registry import Feature
from ctrgate.features.partial import Partial
from ctrgate.features.statistics import Scaling, quantiles, total
from ctrgate.features.tables import Table
from ctrgate.row_ids import UNKNOWN_ID

__all__ = ["boundaries_of", "check_constants", "scalings_of"]


def check_constants(
    features: Sequence[Feature], tables: Mapping[str, Table], *, boundaries: Mapping[str, Sequence[float]]
) -> None:
    """Refuse a value for scoring that was never learnt and so would silently read the unknown row.

    Raises:
        ConfigError: Naming the feature and the value.
    """
    for feature in features:
        constant = getattr(feature, "when_scoring", None)
        if constant is None:
            continue
        for key in feature.keys(pl.Schema(), boundaries=boundaries.get(feature.name, ()), scoring=True):
            table = tables[key.table]
            learnt = key.type == table.type and pl.select(table.ids(key.values, missing="zero")).item() != UNKNOWN_ID
            if not learnt:
                raise ConfigError(f"{feature.name}: no train row taught the value when_scoring {constant!r}")


def scalings_of(features: Sequence[Feature], seen: Partial) -> dict[str, Scaling]:
    """The scaling of each encoded column of numbers, members of sequences included."""
    return {
        column: Scaling.fit(total(seen.moments[column]), transform=settings.transform, fill=settings.fill)
        for feature in features
        for column, settings in feature.scaled().items()
    }


def boundaries_of(features: Sequence[Feature], seen: Partial) -> dict[str, tuple[float, ...]]:
    """The boundaries of each feature with quantiles."""
    return {
        feature.name: quantiles(seen.sketches[feature.name], count=feature.quantiles)
        for feature in features
        if feature.quantiles
    }
