"""Whether rows and scores are distributed as those that the model was exported with, or as earlier scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.snapshot import ColumnSnapshot, IdBins
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.features.tables import HashTable
from ctrgate.metrics.arrays import MISSING, Floats
from ctrgate.metrics.histogram import EDGES, Counts
from ctrgate.metrics.stability import psi, smoothed
from ctrgate.progress import warned_of
from ctrgate.row_ids import FIRST_VALUE_ID, PADDING_ID
from ctrgate.scoring.folder import SUCCESS
from ctrgate.scoring.settings import ScoreSettings

__all__ = ["Shift", "check_skew", "counts_of", "shifted_features", "shifted_logits"]

_GROUPS = 10
_LEAST_EXPECTED = 5.0
_NORMAL_999 = 3.0902


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How far one distribution has moved.

    Bins with fewer than five expected of the smaller sample are taken as one, since nothing can be said of each.

    Args:
        name: Of the column, or of the label.
        value: The population stability index.
        chance: What it exceeds in one of a thousand cases where nothing has moved: for k bins, n and m rows, the index
            times ``n m / (n + m)`` is then about χ² of k - 1 degrees of freedom. Rows of one user, which are alike, are
            taken as independent.
        where: The bin that has moved most, and from what share to what, in brackets.
    """

    name: str
    value: float
    chance: float
    where: str = ""

    def exceeds(self, limit: float) -> bool:
        """Whether it is more than a limit, after what chance alone gives."""
        return self.value > limit + self.chance


def counts_of(folder: Path) -> Counts:
    """The counts of finished scores.

    Raises:
        ConfigError: Where there are none.
    """
    try:
        found = json.loads((folder / SUCCESS).read_text(encoding="utf-8"))["histogram"]
        if tuple(found["edges"]) != EDGES:
            raise ValueError("its bins are others")
        counts: Counts = found["logits"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"score.like: {folder} holds no finished scores of this version: {error}") from error
    return counts


def check_skew(
    artifact: Artifact, histogram: Mapping[str, Any], *, earlier: Counts | None, settings: ScoreSettings
) -> None:
    """Tell, or hold back, rows and scores that are not distributed as those that the model knows, or earlier ones.

    Args:
        artifact: The model.
        histogram: Counts of ``logits`` and of ``features``.
        earlier: Those of the logits of earlier scores, where these should be like them.
        settings: What is allowed, and what happens beyond.

    Raises:
        HeldBackError: Where the settings say so.
    """
    snapshot = artifact.snapshot
    known: Counts = {} if snapshot is None else snapshot.logits
    rows = "" if snapshot is None else f"the {snapshot.split} rows of {artifact.manifest.origin.run}"
    of_logits = shifted_logits(known if earlier is None else earlier, histogram["logits"])
    of_features = shifted_features(artifact, histogram["features"])
    told = [
        f"the {what} of {of.name} are not distributed as in {like}: PSI {of.value:.3f}, allowed is {limit:g}{of.where}"
        for what, like, limit, shifts in (
            ("logits", settings.like or rows, settings.max_psi, of_logits),
            ("values", rows, settings.max_feature_psi, of_features),
        )
        for of in shifts
        if of.exceeds(limit)
    ]
    if told and settings.on_skew == "stop":
        told.append("all is scored, but has not taken its place. The same command with score.on_skew=warn lets it")
        raise HeldBackError("\n".join(told))
    for each in told:
        warned_of(f"warning: {each}")


def shifted_logits(expected: Counts, found: Counts) -> list[Shift]:
    """Of each label's logits, over groups of bins, about a tenth of ``expected`` each."""
    return [_logit_shift(label, expected[label], of) for label, of in found.items() if label in expected]


def shifted_features(artifact: Artifact, found: Counts) -> list[Shift]:
    """Of each encoded column against the artifact's snapshot, the largest first; none without one."""
    columns = {} if artifact.snapshot is None else artifact.snapshot.columns
    shifts = [_feature_shift(artifact, name, columns[name], of) for name, of in found.items()]
    return sorted(shifts, key=lambda shift: -shift.value)


def _logit_shift(label: str, expected: Sequence[int], found: Sequence[int]) -> Shift:
    below = np.cumsum(expected) - np.asarray(expected)
    groups = np.minimum(_GROUPS * below // max(sum(expected), 1), _GROUPS - 1)
    grouped = [np.bincount(groups, weights=of, minlength=_GROUPS).astype(np.float64) for of in (expected, found)]
    p, q, _ = _without_rare(grouped[0], grouped[1])
    return Shift(name=label, value=psi(p, q), chance=_chance(p, q))


def _feature_shift(artifact: Artifact, name: str, column: ColumnSnapshot, found: Sequence[int]) -> Shift:
    p, q, kept = _without_rare(np.asarray(column.counts, dtype=float), np.asarray(found, dtype=float))
    then, now = smoothed(p), smoothed(q)
    most = int(((now - then) * np.log(now / then)).argmax())
    bin_name = _bin_name(artifact, name, column, kept[most]) if most < len(kept) else "rare values"
    where = f" ({bin_name}: {then[most]:.1%} then, {now[most]:.1%} now)"
    return Shift(name=name, value=psi(p, q), chance=_chance(p, q), where=where)


def _without_rare(p: Floats, q: Floats) -> tuple[Floats, Floats, list[int]]:
    """Two lists of counts with rare bins as one, the last, and the places of the others."""
    n, m = float(p.sum()), float(q.sum())
    is_rare = (p + q) / max(n + m, 1.0) * min(n, m) < _LEAST_EXPECTED
    kept = np.flatnonzero(~is_rare)
    return np.append(p[kept], p[is_rare].sum()), np.append(q[kept], q[is_rare].sum()), kept.tolist()


def _chance(p: Floats, q: Floats) -> float:
    free = int(np.count_nonzero(p + q)) - 1
    if free < 1:
        return 0.0
    spread = 2 / (9 * free)
    quantile = free * (1 - spread + _NORMAL_999 * math.sqrt(spread)) ** 3  # Wilson and Hilferty 1931
    return quantile * (1 / max(float(p.sum()), 1.0) + 1 / max(float(q.sum()), 1.0))


def _bin_name(artifact: Artifact, name: str, column: ColumnSnapshot, place: int) -> str:
    """What a bin holds, in words."""
    bins = column.bins
    if not isinstance(bins, IdBins):
        return f"up to {bins.upto[place]:.4g}" if place < len(bins.upto) else "above"
    if place == len(bins.ids):
        return "all other values"
    row = bins.ids[place]
    if row < FIRST_VALUE_ID:
        return "padding" if row == PADDING_ID else "unknown"
    if isinstance(artifact.encoder.tables[artifact.layout.id_tables()[name]], HashTable):
        return f"bucket {row - FIRST_VALUE_ID}"
    value = artifact.encoder.decode(name, pl.Series([row])).item()
    return MISSING if value is None else str(value)
