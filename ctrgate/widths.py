"""Choose the width of each field from the variance of its trained table, and write the run that trains with them."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.table import Table

from ctrgate.config import Place, settings, to_yaml
from ctrgate.errors import ConfigError
from ctrgate.files import atomic_file, write_json, writing
from ctrgate.progress import console

__all__ = ["Config", "WidthsSettings", "run"]


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
    from ctrgate.training.runs import RunFolder, restore  # bring torch, which the settings alone do not need
    from ctrgate.training.table_widths import choose_widths

    folder = RunFolder(Path(config.runs) / config.name)
    restored = restore(folder, which=config.widths.which)
    chosen = choose_widths(restored, explained=config.widths.explained)
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


def _one_per_table(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({line["table"]: line for line in lines}.values())


def _print(lines: list[dict[str, Any]]) -> None:
    table = Table("field", "rows", "width before", "width after")
    for line in lines:
        table.add_row(line["field"], f"{line['rows']:,}", str(line["before"]), str(line["after"]))
    console.print(table)
