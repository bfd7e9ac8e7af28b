"""What a dataset's rows are known to look like: a YAML file that is inferred once, edited by hand and kept in git."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from ctrgate.config import dump, load_file, settings
from ctrgate.errors import ConfigError
from ctrgate.files import atomic_file
from ctrgate.ranges import Fraction, NotNegative
from ctrgate.validation.rules import Rule, Severity

__all__ = ["Bins", "ColumnExpectation", "Drift", "Expectations", "Limits", "Period", "Reference", "load", "save"]

Period = Literal["hour", "day", "week", "month"]


def _text(value: object) -> object:
    if isinstance(value, bool | float):
        raise ValueError(f"{value!r} is no category; write it in quotes, as the column has it")
    return str(value) if isinstance(value, int) else value


Value = Annotated[str, BeforeValidator(_text)]


@settings
class Limits:
    """The least and the greatest that is expected."""

    min: float
    """The least."""
    max: float
    """The greatest."""

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")


@settings
class Drift:
    """How far a distribution may move from the reference."""

    psi: NotNegative = 0.25
    """Most population stability index."""
    js: Fraction = 0.05
    """Most Jensen-Shannon divergence, in bits."""


@settings
class Bins:
    """Shares of numbers: bin i holds ``upto[i - 1] < x <= upto[i]``, the first one ``start <= x <= upto[0]``."""

    start: float
    """The least number of the reference."""
    upto: Annotated[tuple[float, ...], Field(min_length=1)]
    """Rising; the last one is the greatest number."""
    shares: tuple[Fraction, ...]
    """Of the reference's rows; none lies below or above."""

    def __post_init__(self) -> None:
        if any(low >= high for low, high in zip(self.upto, self.upto[1:], strict=False)) or self.start > self.upto[0]:
            raise ValueError("start and upto must rise")
        if len(self.shares) != len(self.upto):
            raise ValueError(f"{len(self.upto)} bins need as many shares, not {len(self.shares)}")


@settings
class ColumnExpectation:
    """One raw column; what is left out is not checked."""

    type: str
    """``int``, ``float``, ``string``, ``bool``, ``datetime`` or ``list of`` one; empty where it was always missing."""
    nulls: Fraction = 1.0
    """Most share of rows without a value (of lists: without an entry)."""
    range: Limits | None = None
    """Of numbers."""
    domain: tuple[Value, ...] | None = None
    """All categories there are."""
    bins: Bins | None = None
    """The reference's distribution of numbers."""
    top: Mapping[Value, Fraction] | None = None
    """The reference's most frequent categories."""
    rest: Fraction = 0.0
    """The share of all other categories."""
    missing: Fraction = 0.0
    """The reference's share of rows without a value; lists have none."""
    drift: Drift | None = None
    """How far the distribution may move."""
    auc: Fraction | None = None
    """Most AUC that the column may have alone, for any label."""
    severity: Mapping[Rule, Severity] = dataclasses.field(default_factory=dict)
    """How grave a breach is for this column, where it differs from the run file's ``validate.severities``."""

    def __post_init__(self) -> None:
        if self.bins is not None and self.top is not None:
            raise ValueError("bins are of numbers and top is of categories; give one")
        if self.drift is not None and self.bins is None and self.top is None:
            raise ValueError("drift needs the reference's distribution, bins or top")


@settings
class Reference:
    """What the expectations were inferred from."""

    num_rows: Annotated[int, Field(ge=0)]
    """Rows of train."""
    effective_rows: NotNegative
    """Kish's effective number of users, where the dataset names the user; else the rows."""
    period: Period | None
    """What a day is: rows, label rates and drift vary from one of these to the next. None: a file, without a clock."""
    num_periods: Annotated[int, Field(ge=0)]
    """Periods that these rows lie in."""


@settings
class Expectations:
    """What is expected of one period's rows."""

    format_version: Literal[1]
    """Of the file."""
    dataset: str
    """Whose they are."""
    reference: Reference
    """What they were inferred from."""
    rows: Limits
    """Of a period."""
    duplicates: Fraction = 1.0
    """Most share of rows that repeat an earlier one."""
    gap_minutes: NotNegative | None = None
    """Longest time without rows."""
    labels: Mapping[str, Limits] = dataclasses.field(default_factory=dict)
    """The share of positive rows, by label."""
    unseen: Mapping[str, Fraction] = dataclasses.field(default_factory=dict)
    """Most share of values without a row in the encoder's tables, by feature (``GROUP/MEMBER`` in a sequence)."""
    columns: Mapping[str, ColumnExpectation]
    """By raw column; a column that is not listed is told as not covered."""

    def severity_of(self, rule: Rule, *, column: str) -> Severity | None:
        """A column's own severity for a rule, None where it has none."""
        known = self.columns.get(column)
        return known.severity.get(rule) if known is not None else None


def load(path: str | Path) -> Expectations:
    """Read expectations.

    Raises:
        ConfigError: Where there is no such file, or with all its faults at once.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; `ctrgate schema` with the same run file infers it from train's rows")
    return load_file(path, Expectations, what="an expectations file")


def save(expectations: Expectations, path: str | Path, *, overwrite: bool = False) -> bool:
    """Write expectations, whole or not at all.

    Args:
        expectations: What to write.
        path: The file.
        overwrite: Whether a file of other content is replaced, with what was edited by hand in it.

    Returns:
        Whether anything had to be written.

    Raises:
        ConfigError: Where the file holds something else and must not be replaced.
    """
    path, text = Path(path), to_text(expectations)
    if path.exists():
        if path.read_text(encoding="utf-8") == text:
            return False
        if not overwrite:
            raise ConfigError(
                f"{path} is there and differs from what these rows give, perhaps because it was edited by hand; set "
                "schema.overwrite=true to replace it, or schema.file to another place to compare the two"
            )
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True


def to_text(expectations: Expectations) -> str:
    """The file's content: one line for what is short, categories always in quotes."""
    values = dump(expectations)
    values["columns"] = {name: _column(column) for name, column in values["columns"].items()}
    for part in ("rows", "reference"):
        values[part] = _Flow(values[part])
    for part in ("labels", "unseen"):
        values[part] = {name: _flowing(inner) for name, inner in values[part].items()}
    head = (
        f"# What a {expectations.reference.period or 'file'} of the dataset {expectations.dataset} looks like.\n"
        "# Inferred by `ctrgate schema`; limits are there to be edited, docs/validation.md tells what each means.\n"
    )
    return head + str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def _column(values: Mapping[str, Any]) -> dict[str, Any]:
    """A column's settings without those that say nothing."""
    kept = {name: value for name, value in values.items() if value is not None and value != {}}
    if kept.get("top") is None:
        kept.pop("rest", None)
    if kept.get("top") is None and kept.get("bins") is None:
        kept.pop("missing", None)
    return {name: _flowing(value) for name, value in kept.items()}


def _flowing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Flow({_Quoted(name) if _is_category(name) else name: _flowing(part) for name, part in value.items()})
    if isinstance(value, list):
        return _FlowList(_Quoted(part) if isinstance(part, str) else part for part in value)
    return value


_SETTINGS = {field.name for kind in (Limits, Drift, Bins) for field in dataclasses.fields(kind)}


def _is_category(name: str) -> bool:
    return name not in _SETTINGS


class _Flow(dict[Any, Any]):
    """A mapping on one line."""


class _FlowList(list[Any]):
    """A list on one line."""


class _Quoted(str):
    """Text that could be read as a number without quotes."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    """Safe YAML with the three above."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _represent_flow(dumper: _Dumper, value: _Flow) -> Any:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)


def _represent_list(dumper: _Dumper, value: Iterable[Any]) -> Any:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


def _represent_text(dumper: _Dumper, value: _Quoted) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style="'")


_NUMBER = re.compile(r"^[-+]?\d[\d_]*[eE][-+]?\d+$")  # what our reader takes for a number and PyYAML for text
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))
_Dumper.add_representer(_Flow, _represent_flow)
_Dumper.add_representer(_FlowList, _represent_list)
_Dumper.add_representer(_Quoted, _represent_text)
