"""What is compared with what, by stage; each side is a process of its own that loads only what it needs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from benchmarks.speed.place import Place
from benchmarks.speed.turns import Turn
from ctrgate.waiting import wait_briefly

__all__ = ["PLAIN", "SIDES", "begin"]

PLAIN = "plain"
"""The side that the others of its stage are compared with."""

_TRAIN = {
    "compiled bf16": "ours.train_side rule=fused precision=bf16 compiled=yes",
    "compiled fp32": "ours.train_side rule=fused precision=fp32 compiled=yes",
    "fused bf16": "ours.train_side rule=fused precision=bf16",
    "fused fp32": "ours.train_side rule=fused precision=fp32",
    "dense fp32": "ours.train_side rule=dense precision=fp32",
    PLAIN: "plain.plain_train",
    "limit bf16": "limit.limit precision=bf16",
    "limit fp32": "limit.limit precision=fp32",
}
SIDES: Mapping[str, Mapping[str, str]] = {
    "prepare": {"ctrgate": "rows.prepare_side", PLAIN: "plain_rows.plain_prepare"},
    "read": {"ctrgate": "ours.read_side", PLAIN: "plain.plain_read"},
    "train": _TRAIN,
    "train, gates by context": _TRAIN,
    "evaluate": {
        "bf16": "ours.evaluate_side precision=bf16",
        "fp32": "ours.evaluate_side precision=fp32",
        PLAIN: "plain.plain_evaluate",
    },
    "export": {"ctrgate": "ours.export_side"},
    "encode": {"ctrgate": "rows.encode_side"},
    "score": {"ctrgate": "ours.score_side", PLAIN: "plain.plain_score"},
    "auc": {"ctrgate": "rows.auc_side", PLAIN: "plain_rows.plain_auc"},
}
"""By stage and side a function of this package, with its settings."""


def begin(stage: str, side: str, place: Place) -> Turn:
    """Get a side ready; ``place.gates`` is to be the stage's."""
    function, *settings = SIDES[stage][side].split()
    module, name = function.split(".")
    if module in ("ours", "rows"):
        wait_briefly()  # as the command line does; the others wait as torch does by itself
    called = getattr(importlib.import_module(f"benchmarks.speed.{module}"), name)
    turn: Turn = called(place, **dict(setting.split("=") for setting in settings))
    return turn
