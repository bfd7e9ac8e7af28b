"""What tests of the encoder share: fitting and encoding in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from ctrgate.features.encoder import Encoder
from ctrgate.features.kinds.registry import Feature, Features
from ctrgate.features.observe import observe


def declared(*features: dict[str, Any]) -> tuple[Feature, ...]:
    """Features as a run file has them."""
    return TypeAdapter(Features).validate_python(features)


def fitted(features: Sequence[Feature], *frames: pl.DataFrame, previous: Encoder | None = None) -> Encoder:
    """An encoder of some files."""
    return Encoder.fit(features, [observe(features, frame.lazy()) for frame in frames], previous=previous)


def encoded(train: pl.DataFrame, *features: dict[str, Any], rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Rows (the train rows by default) encoded by what train has taught, by the streaming engine."""
    encoder = fitted(declared(*features), train)
    result = encoder.transform((train if rows is None else rows).lazy()).collect(engine="streaming")
    for column in result:
        assert column.null_count() == 0
        if isinstance(column.dtype, pl.List):
            assert column.explode(empty_as_null=False).null_count() == 0
    return result
