"""The peers: what is installed for each, and what of theirs is measured beside what of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.size import HIDDEN

__all__ = ["PEERS", "Peer"]

_FINAL_MLP = {
    "train": ("fused bf16", "fused fp32", "dense fp32", "plain"),
    "evaluate": ("bf16", "fp32", "plain"),
}
_OTHER = {"train": ("fused bf16", "fused fp32", "dense fp32"), "evaluate": ("bf16", "fp32")}
_DEEP_FM = {"name": "deep_fm", "mlp": {"hidden": HIDDEN}}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A library, and what it is compared in.

    Args:
        requirements: What pip is to install for it.
        module: Of this package, which calls it.
        theirs: By stage, for each side that is the peer's, the module's function.
        ours: By stage the sides of ``benchmarks.speed`` that take turns with it.
        network: Which of ctrgate's stands beside it; FinalMLP where None.
        has_frappe: Whether it trains FinalMLP on Frappe_x1 by the published recipe too.
    """

    requirements: tuple[str, ...]
    module: str
    theirs: Mapping[str, Mapping[str, str]]
    ours: Mapping[str, tuple[str, ...]]
    network: Mapping[str, Any] | None = field(default=None)
    has_frappe: bool = False


PEERS: Mapping[str, Peer] = {
    "fuxictr": Peer(
        requirements=("torch==2.13.0", "fuxictr==2.3.10"),
        module="of_fuxictr",
        theirs={
            "prepare": {"fuxictr": "prepare"},
            "train": {"fuxictr": "train", "fuxictr, rows in memory": "train_in_memory"},
            "evaluate": {"fuxictr": "evaluate"},
        },
        ours={"prepare": ("ctrgate", "plain"), **_FINAL_MLP},
        has_frappe=True,
    ),
    "deepctr-torch": Peer(
        requirements=(
            "torch==2.13.0",
            "deepctr-torch==0.3.0",
            "requests==2.34.2",  # which it imports and does not ask for
        ),
        module="of_deepctr",
        theirs={"train": {"deepctr-torch": "train"}, "evaluate": {"deepctr-torch": "evaluate"}},
        ours=_OTHER,
        network=_DEEP_FM,
    ),
    "recbole": Peer(
        requirements=(
            "torch==2.13.0",
            "recbole==1.2.1",
            "numpy==1.26.4",  # this and the next three: later ones lack what it uses
            "pandas==2.3.3",
            "scipy==1.15.3",
            "setuptools==80.10.2",
        ),
        module="of_recbole",
        theirs={
            "prepare": {"recbole": "prepare"},
            "train": {"recbole": "train"},
            "evaluate": {"recbole": "evaluate"},
        },
        ours={"prepare": ("ctrgate", "plain"), **_OTHER},
        network={"name": "deep_fm", "mlp": {"hidden": HIDDEN, "batch_norm": False}},
    ),
}
