"""The files by which MLflow serves a model that lies beside them: MLmodel, an example, the packages it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ctrgate.tracking.client import quiet

__all__ = ["DATA", "place_of", "write_pyfunc"]

DATA = "artifact"
"""The folder of the model, within that of MLmodel."""
_LOADER = "ctrgate.scoring.pyfunc"


def place_of(identity: str) -> str:
    """Where a model lies among the files of its run, with MLmodel."""
    return f"model/{identity[:12]}"


def write_pyfunc(
    folder: Path,
    *,
    columns: Mapping[str, pl.DataType],
    outputs: Sequence[str],
    params: Mapping[str, int],
    example: pl.DataFrame,
    packages: Sequence[str],
) -> None:
    """Write all but the model itself into a new folder; nothing is pickled and no code is copied.

    The signature names the columns and which of them hold lists, and leaves what is in them open: MLflow's ``long``
    takes no missing value, its ``double`` no integers, and its arrays of text turn a missing entry into the word
    "None", all of which are rows that the model scores. Their types are in the metadata ``ctrgate.columns``, and the
    loader checks them. No column is required in MLflow's sense, so that the loader says which are missing.

    Args:
        folder: Must not exist.
        columns: The raw columns that are read, with their types.
        outputs: The columns of the answer.
        params: What ``predict`` may be told besides, with defaults.
        example: A few rows, which no user made.
        packages: Requirements, with versions.
    """
    quiet()
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    def nested(kind: pl.DataType) -> Any:
        return Array(AnyType()) if isinstance(kind, pl.List) else AnyType()

    asked = Schema([ColSpec(nested(kind), name, required=False) for name, kind in columns.items()])
    kinds = {"row": DataType.long, "rank": DataType.long, "item": AnyType()}
    given = Schema([ColSpec(kinds.get(name, DataType.double), name) for name in outputs])
    told = ParamSchema([ParamSpec(name, DataType.long, default) for name, default in params.items()])
    mlflow.pyfunc.save_model(
        path=str(folder),
        loader_module=_LOADER,
        signature=ModelSignature(asked, given, told if params else None),
        # As objects: missing integers stay missing, where a column of numbers would make floats of all.
        input_example=pd.DataFrame({name: pd.Series(example[name].to_list(), dtype=object) for name in columns}),
        pip_requirements=list(packages),
        metadata={"ctrgate.columns": {name: str(kind) for name, kind in columns.items()}},
    )
