"""All kinds of features, and what a dataset's list of them must keep to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field

from ctrgate.features.encodings import Encoding
from ctrgate.features.kinds.bag import Bag
from ctrgate.features.kinds.bucketized import Bucketized
from ctrgate.features.kinds.categorical import Categorical
from ctrgate.features.kinds.cross import Cross
from ctrgate.features.kinds.numeric import Numeric
from ctrgate.features.kinds.sequence import SequenceFeature
from ctrgate.features.kinds.vector import Vector
from ctrgate.features.kinds.weighted_bag import WeightedBag

__all__ = ["Feature", "Features", "table_encodings"]

Feature = Annotated[
    Categorical | Numeric | Bucketized | Cross | Bag | WeightedBag | SequenceFeature | Vector, Discriminator("kind")
]
"""A feature of any kind."""


def table_encodings(features: Iterable[Feature]) -> dict[str, Encoding]:
    """The tables that the features read and how each is encoded, in the order in which they are first named.

    Raises:
        ValueError: Where features that share a table encode it differently.
    """
    found: dict[str, Encoding] = {}
    for feature in features:
        for table, encoding in feature.tables():
            if found.setdefault(table, encoding) != encoding:
                raise ValueError(f"{feature.name} shares the table {table}, so both must have the same encoding")
    return found


def _consistent(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    faults = [f"{name} is given twice" for name, n in Counter(f.name for f in features).items() if n > 1]
    try:
        table_encodings(features)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return features


Features = Annotated[tuple[Feature, ...], AfterValidator(_consistent), Field(min_length=1)]
"""The features of a dataset, each name once, and tables shared only with equal encodings."""
