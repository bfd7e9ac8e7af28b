"""A model as MLflow serves it: ``mlflow.pyfunc.load_model`` finds ``_load_pyfunc`` here; raw rows in, scores out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ctrgate.artifact.bundle import Artifact, to_batch
from ctrgate.artifact.interface import probability_columns
from ctrgate.contracts import Batch
from ctrgate.errors import SchemaError
from ctrgate.features.checks import check_columns, check_values
from ctrgate.scoring.answers import item_names, ranked, rows_at_once, scores
from ctrgate.scoring.settings import ScoreSettings
from ctrgate.tracking import DATA

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PyfuncModel"]

_SOURCE = "the frame"
_EXACT = 2**53  # from here on, floats leave integers out


def _load_pyfunc(path: str) -> PyfuncModel:
    """Open the artifact that lies beside MLmodel; MLflow calls this by name."""
    return PyfuncModel(Artifact.load(Path(path) / DATA))


class PyfuncModel:
    """Scores frames of raw rows as ``ctrgate score`` does files, in batches of its default size.

    Columns that joins add must be there already, and other columns are ignored.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact, self._names = artifact, item_names(artifact)
        read = [raw for each in artifact.encoder.features for raw in each.raw_columns(scoring=True)]
        categories = {raw.column for raw in read if raw.holds == "category" and not raw.is_list}
        self._columns = {raw.column: raw.column in categories for raw in read}

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Probabilities of each row by label, calibrated too where the model has a calibration; the index is kept.

        A model that ranks items gives several rows for each: its place in the frame, and the best items.

        Args:
            frame: Raw rows, with the columns that the model was trained on.
            params: ``top_k``: how many items, for a model that ranks them.

        Raises:
            SchemaError: Where columns are missing or of a type that does not fit what was learnt.
            DataError: Naming the row that cannot be used.
        """
        names = [name for name in self._columns if name in frame.columns]
        rows = pl.DataFrame([_series(name, frame[name], category=self._columns[name]) for name in names])
        artifact, top_k = self._artifact, int((params or {}).get("top_k", ScoreSettings.top_k))
        check_columns(artifact.encoder.features, rows.schema, source=_SOURCE, scoring=True)
        check_values(artifact.encoder.features, rows.lazy(), source=_SOURCE, scoring=True)
        encoded = artifact.encoder.transform(rows.lazy().with_row_index("row:place"), keep=["row:place"], scoring=True)
        pieces = self._pieces(encoded.collect())
        if artifact.items is not None:
            found = [
                ranked(
                    artifact,
                    self._batch(rows),
                    rows.select(row=pl.col("row:place").cast(pl.Int64)),
                    names=self._names,
                    top_k=top_k,
                    first=first,
                )
                for first, rows in pieces
            ]
            return pl.concat(found).to_pandas()
        answers = pl.concat(pl.DataFrame(scores(artifact, self._batch(rows), first=first)) for first, rows in pieces)
        calibrated = artifact.calibration is not None
        told = answers.select(probability_columns(artifact.layout.labels, calibrated=calibrated))
        return told.to_pandas().set_index(frame.index)

    def _batch(self, encoded: pl.DataFrame) -> Batch | None:
        return to_batch(encoded, layout=self._artifact.layout) if encoded.height else None

    def _pieces(self, encoded: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """The batches, each with the number of its first row; one without rows where there are none."""
        size = rows_at_once(self._artifact, ScoreSettings.batch_rows)
        yield from ((start, encoded.slice(start, size)) for start in range(0, max(1, encoded.height), size))


def _series(name: str, values: pd.Series[Any], *, category: bool) -> pl.Series:
    """A column; what pandas has made floats of, as it does with integers once one is missing, are integers again."""
    try:
        series = pl.Series(name, values, nan_to_null=True)
    except (ValueError, TypeError) as error:  # Arrow's errors are these
        raise SchemaError(
            f"{_SOURCE}: the column {name!r} is neither numbers, text nor lists of one of them: {error}"
        ) from error
    if series.null_count() == len(series):
        return series.clear(len(series)).cast(pl.Null)
    if not category or not series.dtype.is_float():
        return series
    whole = series.cast(pl.Int64, strict=False)
    wrong = (series.is_not_null() & ~(whole == series).fill_null(False)) | (series.abs() >= _EXACT)
    if not wrong.any():
        return whole
    row = wrong.to_list().index(True)
    raise SchemaError(
        f"{_SOURCE}, row {row} (counted from 0): the column {name!r} needs an integer or string in each row, but holds "
        f"the float {series[row]}; convert the column (to Int64, which keeps missing values)"
    )
