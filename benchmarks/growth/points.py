"""One point of a curve of steps: a process that trains one network at one size, a step in each turn."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import TypeAdapter

from benchmarks.speed.size import DIM, HEADS, HIDDEN
from benchmarks.speed.turns import Turn, serve
from benchmarks.steps import click_fields, item_histories, training_step
from ctrgate.models.network import NetworkConfig
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import DenseRule, FusedRule, TablesConfig

__all__ = ["BY_FIELDS", "BY_LENGTH", "point"]

BATCH, TABLE_ROWS = 1024, 10_000
EVENTS, ITEMS, ITEM_DIM = 16_000, 2_000, 64
"""Of all histories of a step together: 320 of 50, or 16 of 1,000."""

_MLP = {"hidden": HIDDEN}
BY_FIELDS: dict[str, dict[str, Any]] = {
    "FinalMLP": {"name": "final_mlp", "mlp1": _MLP, "mlp2": _MLP, "num_heads": HEADS},
    "GDCN-P": {"name": "gdcn", "num_cross_layers": 3, "parallel_mlp": _MLP},
}
BY_LENGTH: dict[str, dict[str, Any]] = {
    "DIN": {"name": "din"},
    "SASRec": {"name": "sasrec"},
    "Mamba4Rec": {"name": "mamba4rec"},
}
"""The networks that are measured, as ``model`` of a run file."""


def point(name: str, size: int) -> Turn:
    """A step of a network with so many fields, or with histories so long."""
    if name in BY_FIELDS:
        layout, tables = click_fields(size, table_rows=TABLE_ROWS), TablesConfig(dim=DIM)
        return training_step(_config(BY_FIELDS[name]), layout, tables=tables, num_rows=BATCH)
    model = BY_LENGTH[name] | ({"max_length": size} if name == "SASRec" else {})
    rule = FusedRule() if name == "DIN" else DenseRule()
    layout, tables = item_histories(size, num_items=ITEMS), TablesConfig(dim=ITEM_DIM, rule=rule)
    return training_step(_config(model), layout, tables=tables, num_rows=EVENTS // size)


def _config(model: dict[str, Any]) -> NetworkConfig:
    config: NetworkConfig = TypeAdapter(ModelConfig).validate_python(model)
    return config


if __name__ == "__main__":  # python -m benchmarks.growth.points NAME SIZE
    serve(lambda: point(sys.argv[1], int(sys.argv[2])))
