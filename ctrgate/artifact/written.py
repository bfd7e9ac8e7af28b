"""A trained model written as a folder: the artifact that is then loaded, proven and sealed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from ctrgate.artifact.calibration import Calibration
from ctrgate.artifact.interface import GOLDEN
from ctrgate.artifact.manifest import Manifest, Origin, TableSize
from ctrgate.config import dump
from ctrgate.features.encoder import Encoder
from ctrgate.features.layout import Layout
from ctrgate.folders import ENCODER, NETWORK
from ctrgate.models.next_item import Items
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import TablesConfig

__all__ = ["LOGITS", "TABLES", "WEIGHTS", "Trained", "write"]

WEIGHTS = "network.safetensors"
TABLES, LOGITS = "tables.safetensors", "golden/logits.safetensors"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What an artifact is made of; ``items`` says where the items are, for a network that ranks them.

    ``logit_shifts`` are added to each label's logits, which ``calibration`` then turns into probabilities.

    Shape:
        - rows: per table ``(V, D)`` at its logical width, as it is to be stored; tables of zeros may be left out
        - weights: the network's state
    """

    encoder: Encoder
    layout: Layout
    model: ModelConfig
    tables: TablesConfig
    items: Items | None
    rows: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    logit_shifts: tuple[float, ...] = ()
    calibration: Calibration | None = None


def write(
    folder: Path,
    trained: Trained,
    *,
    origin: Origin,
    golden: pl.DataFrame,
    logits: NDArray[np.float32],
    tolerance: float,
    tables: Mapping[str, TableSize],
) -> None:
    """Fill an empty folder with an artifact that can be loaded, to be proven and then to be ``seal``ed.

    Args:
        folder: Must exist.
        trained: The model.
        origin: Where it comes from.
        golden: Raw rows to be replayed on load.
        logits: What the checkpoint says of them: logits ``(n, L)``, shifted, or queries ``(n, D)``.
        tolerance: By how much the golden rows' logits may differ in fp32.
        tables: Their sizes, for the manifest.
    """
    trained.encoder.save(folder / ENCODER)
    network = {
        "model": dump(trained.model),
        "tables": dump(trained.tables),
        "layout": trained.layout.to_json(),
        "items": dump(trained.items) if trained.items else None,
    }
    (folder / NETWORK).write_text(json.dumps(network, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in trained.weights.items()}, folder / WEIGHTS)
    save_file({name: value.contiguous() for name, value in trained.rows.items()}, folder / TABLES)
    if trained.calibration is not None:
        trained.calibration.write(folder)
    (folder / GOLDEN).parent.mkdir()
    golden.write_parquet(folder / GOLDEN)
    save_file({"logits": torch.from_numpy(logits)}, folder / LOGITS)
    Manifest.of(
        folder,
        model=trained.model.name,
        encoder=trained.encoder.hash,
        labels=() if trained.items else trained.layout.labels,
        origin=origin,
        tolerance=tolerance,
        tables=tables,
        logit_shifts=trained.logit_shifts,
    ).write(folder)
