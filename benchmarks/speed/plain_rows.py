"""The common way to prepare rows and to measure AUC, written out: pandas, dictionaries, scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.speed.place import Place
from benchmarks.speed.rows import clicks
from benchmarks.speed.size import CATEGORIES, NUMBERS
from benchmarks.speed.turns import Turn

__all__ = ["PlainEncoder", "plain_auc", "plain_prepare"]

_MISSING = "missing"


class PlainEncoder:
    """Vocabularies as dictionaries, numbers standardised after a logarithm."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.vocabularies = {}
        for name in CATEGORIES:
            counts = rows[name].fillna(_MISSING).value_counts()
            self.vocabularies[name] = {value: number for number, value in enumerate(counts.index, start=2)}
        logs = self._logs(rows)
        self.mean, self.std = logs.mean(), logs.std()

    def encode(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with ids and numbers; unknown values have id 1."""
        columns = {"label": rows["label"].astype("float32")}
        numbers = ((self._logs(rows) - self.mean) / self.std).fillna(0.0).astype("float32")
        columns |= {name: numbers[name] for name in NUMBERS}
        for name in CATEGORIES:
            columns[name] = rows[name].fillna(_MISSING).map(self.vocabularies[name]).fillna(1).astype("int64")
        return pd.DataFrame(columns)

    @staticmethod
    def _logs(rows: pd.DataFrame) -> pd.DataFrame:
        return np.log1p(rows[list(NUMBERS)].astype("float64").clip(lower=0))


def plain_prepare(place: Place) -> Turn:
    """Raw Parquet to encoded Parquet."""

    def turn() -> int:
        rows = pd.concat([pd.read_parquet(path) for path in sorted(place.raw.glob("*.parquet"))])
        cut = int(len(rows) * 0.9)
        encoder = PlainEncoder(rows[:cut])
        for split, part in (("train", rows[:cut]), ("valid", rows[cut:])):
            encoder.encode(part).to_parquet(place.folder / f"plain-{split}.parquet")
        return len(rows)

    return turn


def plain_auc(_: Place) -> Turn:
    """scikit-learn's ``roc_auc_score``, which has no interval."""
    from sklearn.metrics import roc_auc_score

    labels, logits = clicks()

    def turn() -> int:
        roc_auc_score(labels, logits)
        return len(labels)

    return turn
