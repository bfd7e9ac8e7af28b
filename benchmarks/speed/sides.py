"""What is compared with what, by stage; each side is a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from benchmarks.speed import limit, ours, plain
from benchmarks.speed.ours import Turn
from benchmarks.speed.place import Place

__all__ = ["PLAIN", "SIDES"]

Side = Callable[[Place], Turn]
PLAIN = "plain"
"""The side that the others of its stage are compared with."""

_TRAIN: Mapping[str, Side] = {
    "fused bf16": partial(ours.train_side, rule="fused", precision="bf16"),
    "fused fp32": partial(ours.train_side, rule="fused", precision="fp32"),
    "dense fp32": partial(ours.train_side, rule="dense", precision="fp32"),
    PLAIN: plain.plain_train,
    "limit bf16": partial(limit.limit, dtype=torch.bfloat16),
    "limit fp32": partial(limit.limit, dtype=torch.float32),
}
SIDES: Mapping[str, Mapping[str, Side]] = {
    "prepare": {"ctrgate": ours.prepare_side, PLAIN: plain.plain_prepare},
    "read": {"ctrgate": ours.read_side, PLAIN: plain.plain_read},
    "train": _TRAIN,
    "train, gates of context": _TRAIN,
    "evaluate": {
        "bf16": partial(ours.evaluate_side, precision="bf16"),
        "fp32": partial(ours.evaluate_side, precision="fp32"),
        PLAIN: plain.plain_evaluate,
    },
    "export": {"ctrgate": ours.export_side},
    "encode": {"ctrgate": ours.encode_side},
    "score": {"ctrgate": ours.score_side, PLAIN: plain.plain_score},
    "auc": {"ctrgate": ours.auc_side, PLAIN: plain.plain_auc},
}
"""By stage, side by side. Of training, the second network has gates that cannot be computed once for all rows."""


def gates_of(stage: str) -> str:
    """The network's gates in a stage."""
    return "context" if "context" in stage else "constant"
