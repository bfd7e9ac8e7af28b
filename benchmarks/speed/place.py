"""The rows that are measured on, and the run that is: FinalMLP on Criteo-shaped rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from benchmarks.speed.size import BATCH, CATEGORIES, CONTEXTS, DIM, GATE_HIDDEN, HEADS, HIDDEN, NUMBERS
from ctrgate import prepare
from ctrgate.config import to_yaml
from ctrgate.data import criteo_shaped
from ctrgate.data.criteo_shaped import CriteoShapedConfig
from ctrgate.features.layout import Layout
from ctrgate.features.prepared import Prepared

__all__ = ["SCORED_ROWS", "Place"]

SCORED_ROWS = 262_144


@dataclass(frozen=True)
class Place:
    """A folder with raw rows, prepared rows, and a trained run.

    Args:
        folder: Where all of it lies.
        gates: The network's gates: one learned factor per coordinate, or factors that a row's context decides.
        network: ``model`` of the run file, where it is to be another network than FinalMLP.
    """

    folder: Path
    gates: str = "constant"
    network: Mapping[str, Any] | None = None

    @property
    def raw(self) -> Path:
        """The raw rows to learn from."""
        return self.folder / "raw"

    @property
    def raw_to_score(self) -> Path:
        """Other raw rows of the same values, some of which the first lack."""
        return self.folder / "raw_to_score"

    @property
    def turn(self) -> Path:
        """One row group of prepared train rows: what a turn of a side reads."""
        return self.folder / "turn.parquet"

    @property
    def layout(self) -> Layout:
        """Of the prepared rows."""
        return self.prepared.layout

    @property
    def prepared(self) -> Prepared:
        """The prepared rows."""
        return Prepared.open(self.folder / "prepared")

    def make_rows(self, *, num_rows: int) -> None:
        """Write raw rows and prepare them; what is there already stays."""
        if not self.raw.exists():
            criteo_shaped.write(CriteoShapedConfig(num_rows=num_rows), self.raw)
            criteo_shaped.write(CriteoShapedConfig(num_rows=SCORED_ROWS, draw=1), self.raw_to_score)
        prepare.run(self.settings(prepare.Config))
        first = pq.ParquetFile(self.prepared.files("train")[0])
        pq.write_table(first.read_row_group(0), self.turn)

    def make(self, *, num_rows: int) -> None:
        """Make rows, train for an epoch and export."""
        from ctrgate import export, train  # torch, which not every side is to load

        self.make_rows(num_rows=num_rows)
        train.run(self.settings(train.Config))
        if not (self.folder / "artifact").exists():
            export.run(self.settings(export.Config))

    def write_run_file(self, *, num_rows: int) -> Path:
        """Write raw rows, prepare them, and write the run file, for verbs in processes of their own."""
        self.make_rows(num_rows=num_rows)
        path = self.folder / "run.yaml"
        path.write_text(to_yaml(self.sections()), encoding="utf-8")
        return path

    def settings(self, config: type[Any], **sections: dict[str, Any]) -> Any:
        """A verb's settings, with some of its sections changed."""
        names = set(config.__dataclass_fields__)
        given = {name: value for name, value in self.sections().items() if name in names}
        for name, changes in sections.items():
            given[name] = {**given.get(name, {}), **changes}
        return TypeAdapter(config).validate_python(given)

    def sections(self) -> dict[str, Any]:
        """The run file, as plain values."""
        mlp = {"hidden": HIDDEN}
        first, second = CONTEXTS[self.gates]
        final_mlp = {
            "name": "final_mlp",
            "mlp1": mlp,
            "mlp2": mlp,
            "gate1_context": first,
            "gate2_context": second,
            "gate_hidden": GATE_HIDDEN,
            "num_heads": HEADS,
        }
        return {
            "name": "speed",
            "runs": str(self.folder / "runs"),
            "dataset": {
                "name": "criteo_shaped",
                "files": str(self.raw / "*.parquet"),
                "split": {"by": "order", "valid": 0.1, "test": 0},
                "labels": [{"name": "label"}],
                "features": [
                    *({"kind": "numeric", "name": name, "transform": "log"} for name in NUMBERS),
                    *({"kind": "categorical", "name": name} for name in CATEGORIES),
                ],
            },
            "prepare": {"into": str(self.folder / "prepared")},
            "tables": {"dim": DIM, "init_std": 0.01},
            "model": self.network or final_mlp,
            "train": {"batch_size": BATCH, "epochs": 1, "precision": "bf16"},
            "export": {"into": str(self.folder / "artifact")},
            "score": {"files": str(self.raw_to_score / "*.parquet"), "model": str(self.folder / "artifact")},
            "tracking": {"enabled": False},
        }


if __name__ == "__main__":
    Place(Path(sys.argv[1])).make(num_rows=int(sys.argv[2]))
