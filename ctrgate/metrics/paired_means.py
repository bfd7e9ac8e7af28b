"""Differences of log loss, normalised entropy and calibration on the same rows, all from a few sums per user."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ctrgate.metrics.arrays import Floats
from ctrgate.metrics.calibration import sigmoid
from ctrgate.metrics.measured import Measured, from_terms
from ctrgate.metrics.paired import PairedRows

__all__ = ["ClusterSums", "PairedMean", "cluster_sums", "paired_calibration", "paired_entropy", "paired_log_loss"]


@dataclass(frozen=True, kw_only=True)
class ClusterSums:
    """What K users (or rows) sum up to, weighted.

    Shape:
        - rows, clicks: ``(K,)``
        - loss_a, loss_b: ``(K,)``, negative log likelihood in nats
        - predicted_a, predicted_b: ``(K,)``, probabilities
    """

    rows: Floats
    clicks: Floats
    loss_a: Floats
    loss_b: Floats
    predicted_a: Floats
    predicted_b: Floats

    def stacked(self) -> Floats:
        """All six, ``(6, K)``, in the order above."""
        return np.stack([self.rows, self.clicks, self.loss_a, self.loss_b, self.predicted_a, self.predicted_b])


@dataclass(frozen=True, kw_only=True)
class PairedMean:
    """A metric of A and of B, and B less A, with errors that know of users."""

    a: Measured
    b: Measured
    difference: Measured


def cluster_sums(rows: PairedRows) -> ClusterSums:
    """One pass over the rows."""

    def loss(scores: Floats) -> Floats:
        wrong = np.where(rows.positive, -scores, scores)
        return rows.by_cluster(np.log1p(np.exp(-np.abs(wrong))) + np.maximum(wrong, 0.0))

    return ClusterSums(
        rows=rows.by_cluster(np.ones(len(rows))),
        clicks=rows.by_cluster(rows.positive),
        loss_a=loss(rows.a),
        loss_b=loss(rows.b),
        predicted_a=rows.by_cluster(sigmoid(rows.a)),
        predicted_b=rows.by_cluster(sigmoid(rows.b)),
    )


def paired_log_loss(sums: ClusterSums) -> PairedMean:
    """Mean log loss: ``L = Σ l / Σ w``, whose error is that of a ratio of sums over users.

    ``var = Σ_u ((l_u - L w_u) / Σ w)² / (1 - w_u / Σ w)``, and for the difference the same of ``l^B - l^A``.
    """
    total = sums.rows.sum()
    pairs = {"a": sums.loss_a, "b": sums.loss_b, "difference": sums.loss_b - sums.loss_a}
    return PairedMean(**{name: _ratio(loss, sums.rows, total=total) for name, loss in pairs.items()})


def paired_entropy(sums: ClusterSums) -> PairedMean:
    """Log loss over the entropy of the rows' own click rate p (He et al., ADKDD 2014, eq. 3), NaN with one class.

    Both parts vary with the users drawn, so ``N = L / H(p)`` has the linear term
    ``(l_u - L w_u) / H - (L / H²) ln((1-p)/p) (y_u - p w_u)`` over ``Σ w``; squared and summed as for log loss.
    """
    total = sums.rows.sum()
    rate = sums.clicks.sum() / total
    if rate in (0, 1):
        unknown = Measured(value=math.nan, standard_error=math.nan, degrees=len(sums.rows) - 1)
        return PairedMean(a=unknown, b=unknown, difference=unknown)
    entropy = float(-rate * math.log(rate) - (1 - rate) * math.log1p(-rate))
    of_rate = (sums.clicks - rate * sums.rows) * math.log((1 - rate) / rate)

    def measured(loss: Floats) -> Measured:
        mean = float(loss.sum() / total)
        terms = (loss - mean * sums.rows) / entropy - of_rate * (mean / entropy**2)
        return _from_residuals(mean / entropy, terms / total, shares=sums.rows / total)

    return PairedMean(a=measured(sums.loss_a), b=measured(sums.loss_b), difference=measured(sums.loss_b - sums.loss_a))


def paired_calibration(sums: ClusterSums) -> PairedMean:
    """Clicks predicted over clicks seen, ``C = Σ p / Σ y``, NaN without a click.

    A ratio of sums over users like log loss. The difference says how far the promises of A and B lie apart, not which
    is nearer to 1.
    """
    total = sums.clicks.sum()
    pairs = {"a": sums.predicted_a, "b": sums.predicted_b, "difference": sums.predicted_b - sums.predicted_a}
    return PairedMean(**{name: _ratio(predicted, sums.clicks, total=total) for name, predicted in pairs.items()})


def _ratio(above: Floats, below: Floats, *, total: float) -> Measured:
    """``Σ above / Σ below``."""
    if not total:
        return Measured(value=math.nan, standard_error=math.nan, degrees=len(above) - 1)
    value = float(above.sum() / total)
    return _from_residuals(value, (above - value * below) / total, shares=below / total)


def _from_residuals(value: float, residuals: Floats, *, shares: Floats) -> Measured:
    """A value with the error of its linear terms, one per user, which sum to 0; ``shares`` are the users' weights."""
    with np.errstate(divide="ignore", invalid="ignore"):  # all weight on one user: no error
        terms = residuals / np.sqrt(np.maximum(1 - shares, 0.0))
    return from_terms(value, terms, num_users=len(terms))
