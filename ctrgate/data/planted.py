"""The truth behind generated rows: which values, gates and numbers move the click probability, and the best scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ctrgate.errors import ArtifactError
from ctrgate.files import write_json

__all__ = ["BestScores", "Planted", "best_scores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What decides a click; everything that is not here has no effect.

    With user u, item i, its category c, device d, time slot s and tags v::

        logit = bias + user[u] + item[i] + category[c] + sum_t slot_gates[s, t] * tag_t[v_t]
              + affinity * sum_k device_gates[d, k] * taste[u, k] * appeal[i, k]
              + price_gates[d] * price_slope * log(price / 10) + age_slope * (age - 40) / 12

    where a missing price or age adds nothing. The gates are 0 or 1. A noise value has effect 0, and as a user or item
    also taste or appeal 0; a signal value's effect is well away from 0. A click is followed by a purchase with the
    logit ``-1 + item[i]``.

    Shape:
        - effects: per field, one number per value; all 0 for a field of noise
        - taste: ``(num_users, K)`` of -1, 0, 1
        - appeal: ``(num_items, K)`` of 0, 1, at most one 1 in a row
        - item_category: ``(num_items,)``
        - device_gates: ``(num_devices, K)``; slot_gates: ``(num_slots, num_tags)``; price_gates: ``(num_devices,)``
    """

    bias: float
    affinity: float
    price_slope: float
    age_slope: float
    effects: Mapping[str, Floats]
    taste: Floats
    appeal: Floats
    item_category: Ints
    device_gates: Floats
    slot_gates: Floats
    price_gates: Floats

    def logits(self, ids: Mapping[str, Ints], *, price: Floats, age: Floats) -> Floats:
        """The log odds of a click.

        Args:
            ids: By field the number of each row's value; ``device`` and ``slot`` among them.
            price: NaN where missing.
            age: NaN where missing.
        """
        device, slot, user, item = (ids[name] for name in ("device", "slot", "user", "item"))
        total = np.full(len(user), self.bias)
        for name in ("user", "item", "category"):
            total += self.effects[name][ids[name]]
        for number, name in enumerate(self.tags):
            total += self.slot_gates[slot, number] * self.effects[name][ids[name]]
        matched = np.einsum("bk,bk,bk->b", self.device_gates[device], self.taste[user], self.appeal[item])
        total += self.affinity * matched
        total += np.nan_to_num(self.price_gates[device] * self.price_slope * np.log(price / 10))
        total += np.nan_to_num(self.age_slope * (age - 40) / 12)
        return total

    def purchase_logits(self, item: Ints) -> Floats:
        """The log odds of a purchase after a click."""
        logits: Floats = self.effects["item"][item] - 1.0
        return logits

    @property
    def tags(self) -> list[str]:
        """The gated signal fields, in the order of ``slot_gates``."""
        return [name for name in self.effects if name.startswith("tag_")]

    def is_signal(self, field: str) -> NDArray[np.bool_]:
        """For each value of a field, whether it has an effect."""
        signal: NDArray[np.bool_] = self.effects[field] != 0
        return signal

    def save(self, folder: Path) -> None:
        """Write the truth: ``gates.json``, and ``values.parquet`` with a line for each value of each field."""
        folder.mkdir(parents=True, exist_ok=True)
        rest = {part.name: getattr(self, part.name) for part in dataclasses.fields(self) if part.name not in _LARGE}
        write_json(folder / "gates.json", {name: _plain(value) for name, value in rest.items()})
        values = [
            pl.DataFrame(
                {
                    "field": name,
                    "number": np.arange(len(effects)),
                    "signal": self.is_signal(name),
                    "effect": effects,
                    "factors": self._factors(name),
                    "category": self.item_category if name == "item" else None,
                },
                schema_overrides={"factors": pl.List(pl.Int8), "category": pl.Int64},
            )
            for name, effects in self.effects.items()
        ]
        pl.concat(values).write_parquet(folder / "values.parquet")

    @classmethod
    def load(cls, folder: Path) -> Planted:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: Where the folder holds no planted truth.
        """
        try:
            gates = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
            values = pl.read_parquet(folder / "values.parquet")
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder} holds no planted truth ({error}); generate the rows again") from error
        parts = {str(key[0]): part for key, part in values.group_by("field", maintain_order=True)}
        gated = {name: np.array(value) for name, value in gates.items() if name.endswith("_gates")}
        return cls(
            **(gates | gated),
            effects={name: part["effect"].to_numpy() for name, part in parts.items()},
            taste=np.array(parts["user"]["factors"].to_list(), dtype=np.float64),
            appeal=np.array(parts["item"]["factors"].to_list(), dtype=np.float64),
            item_category=parts["item"]["category"].to_numpy(),
        )

    def _factors(self, field: str) -> list[list[int]] | None:
        factors = {"user": self.taste, "item": self.appeal}.get(field)
        return None if factors is None else factors.astype(int).tolist()


_LARGE = ("effects", "taste", "appeal", "item_category")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, kw_only=True)
class BestScores:
    """What a model that knows the true probabilities reaches on some rows.

    Args:
        num_rows: How many rows.
        auc: AUC of the true probabilities on the labels that were drawn.
        log_loss: Their mean log loss on those labels.
        expected_auc: The chance that a click ranks above another row's non-click, over all labels that may be drawn.
        expected_log_loss: The mean entropy of the rows; no model can do better in expectation.
    """

    num_rows: int
    auc: float
    log_loss: float
    expected_auc: float
    expected_log_loss: float


def best_scores(probabilities: NDArray[Any], labels: NDArray[Any]) -> BestScores:
    """The best reachable scores of rows whose true probabilities are known.

    ``expected_auc = sum_{i != j} p_i (1 - p_j) [p_i > p_j (1/2 at a tie)] / sum_{i != j} p_i (1 - p_j)``, the same sum
    as that of AUC with each row a click with weight p and a non-click with weight 1 - p.
    A noisy label can favour a model over the truth by chance, so ``auc`` and ``log_loss`` can be beaten slightly.

    Shape:
        - probabilities, labels: ``(n,)``
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    return BestScores(
        num_rows=len(p),
        auc=_auc(p, positive=y),
        log_loss=float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))),
        expected_auc=_auc(p, positive=p),
        expected_log_loss=float(-np.mean(p * np.log(p) + (1 - p) * np.log1p(-p))),
    )


def _auc(scores: Floats, *, positive: Floats) -> float:
    """AUC where row i is a positive with weight w_i and a negative with 1 - w_i; a row is not paired with itself."""
    _, ranks = np.unique(scores, return_inverse=True)
    positives, negatives = np.bincount(ranks, positive), np.bincount(ranks, 1 - positive)
    itself = float(positive @ (1 - positive))
    above = float(positives @ (np.cumsum(negatives) - negatives / 2)) - itself / 2
    pairs = float(positives.sum() * negatives.sum()) - itself
    return above / pairs if pairs > 0 else float("nan")
