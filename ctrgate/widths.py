"""Choose the width of each field from the variance of its trained table, and write the run that trains with them."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from rich.table import Table
from torch import Tensor

from ctrgate.config import Place, settings, to_yaml
from ctrgate.errors import ConfigError
from ctrgate.files import atomic_file, write_json, writing
from ctrgate.progress import console
from ctrgate.row_ids import FIRST_VALUE_ID
from ctrgate.training.runs import Restored, RunFolder, restore

__all__ = ["Config", "WidthsSettings", "explained_variance", "run", "width"]


@settings
class WidthsSettings:
    """How widths are chosen."""

    explained: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """A field gets the fewest principal components that explain more than this share of its table's variance."""
    which: Literal["best", "last"] = "best"
    """The checkpoint."""
    name: str = ""
    """Of the run that is written; ``NAME_widths`` by default."""
    into: Place = ""
    """Its run file; ``RUNS/NAME/widths.yaml`` by default."""


@settings
class Config:
    """The sections that ``widths`` reads; the rest it takes from the run's own config.yaml."""

    name: str
    """The run."""
    runs: Place = "runs"
    """Where run folders lie."""
    widths: WidthsSettings = field(default_factory=WidthsSettings)
    """How widths are chosen."""


def run(config: Config) -> dict[str, Any]:
    """Field-level dimension optimisation (FDO; GDCN, CIKM 2023): write ``widths.json`` and a run file beside the run.

    The written run is the same but for its name and ``tables.dims``, and is trained from scratch, as published. Fields
    that share a table share its width; numbers and vectors, which have no table, keep theirs. The sections that
    ``train`` does not read are not in the written file.

    Returns:
        The run file, the widths by field, and the parameters of the fields' tables before and after.

    Raises:
        ConfigError: Where there is no such run, or no field of it has a table.
    """
    folder = RunFolder(Path(config.runs) / config.name)
    restored = restore(folder, which=config.widths.which)
    chosen = _choose(restored, explained=config.widths.explained)
    if not chosen:
        raise ConfigError(f"{folder.path}: no field has a table whose width could be chosen")
    before, after = (sum(line["rows"] * line[key] for line in _one_per_table(chosen)) for key in ("before", "after"))
    summary = {
        "explained": config.widths.explained,
        "parameters_before": before,
        "parameters_after": after,
        "fields": chosen,
    }
    write_json(folder.path / "widths.json", summary)
    dims = {line["field"]: line["after"] for line in chosen}
    into = Path(config.widths.into) if config.widths.into else folder.path / "widths.yaml"
    sections = folder.settings()
    sections["name"] = config.widths.name or f"{config.name}_widths"
    sections["tables"] = {**sections["tables"], "dims": {**sections["tables"]["dims"], **dims}}
    with writing(into, setting="widths.into"), atomic_file(into) as temporary:
        temporary.write_text(to_yaml(sections), encoding="utf-8")
    _print(chosen)
    console.print(f"{into}: tables of {after:,} parameters instead of {before:,} ({after / before:.1%})", markup=False)
    return {"run_file": str(into), "dims": dims, "parameters_before": before, "parameters_after": after}


def explained_variance(rows: Tensor) -> Tensor:
    """The share of a table's variance that its first 1, 2, ... principal components explain together.

    Shape:
        - rows: ``(n, D)``
        - returns: ``(min(n, D),)``, rising to 1; empty where all rows are the same

    Example:
        >>> explained_variance(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).tolist()
        [0.9, 1.0]
    """
    centred = rows.double() - rows.double().mean(dim=0)
    variances: Tensor = torch.linalg.svdvals(centred).square()
    total = variances.sum()
    return variances.cumsum(0) / total if len(rows) > 1 and total > 0 else variances[:0]


def width(shares: Tensor, *, explained: float) -> int:
    """The fewest components that explain more than a share; 1 where nothing varies."""
    return min(int((shares <= explained).sum()) + 1, max(len(shares), 1))


def _choose(restored: Restored, *, explained: float) -> list[dict[str, Any]]:
    """A line per field with a table: its rows, its widths, and the variance explained.

    Padding and unknown take no part, nor do values that a search has dropped.
    """
    own = {lookup.name: lookup for lookup in restored.model.lookups.lookups if lookup.name == lookup.column}
    weights = {spec.name: (spec, rows[:, : spec.dim]) for spec, rows in restored.model.lookups.tables()}
    kept = {} if restored.model.gates is None else restored.model.gates.by_table()
    lines = []
    for item in restored.layout.fields:
        if item.name not in own:
            continue
        spec, rows = weights[own[item.name].table]
        values = rows[FIRST_VALUE_ID:]
        if item.table in kept:
            values = values[kept[item.table].kept()[FIRST_VALUE_ID:]]
        shares = explained_variance(values)
        lines.append(
            {
                "field": item.name,
                "table": spec.name,
                "rows": spec.num_rows,
                "before": spec.dim,
                "after": width(shares, explained=explained),
                "explained": [round(share, 6) for share in shares.tolist()],
            }
        )
    return lines


def _one_per_table(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({line["table"]: line for line in lines}.values())


def _print(lines: list[dict[str, Any]]) -> None:
    table = Table("field", "rows", "width before", "width after")
    for line in lines:
        table.add_row(line["field"], f"{line['rows']:,}", str(line["before"]), str(line["after"]))
    console.print(table)
