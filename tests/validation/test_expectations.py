"""The expectations file: what comes back of what was written, what is said of a broken one, what is not overwritten."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from ctrgate.config import dump
from ctrgate.errors import ConfigError
from ctrgate.validation.expectations import (
    Bins,
    ColumnExpectation,
    Drift,
    Expectations,
    Limits,
    Reference,
    load,
    save,
)
from ctrgate.validation.rules import Rule, Severities

TRICKY = ("1e3", "007", "1", "no", "null", "~", "2025-01-01", "a: b", "it's", "", "Ü", "1_000", "0x1F", ".5", "é\n")


def expectations(**columns: ColumnExpectation) -> Expectations:
    return Expectations(
        format_version=1,
        dataset="d",
        reference=Reference(num_rows=10, effective_rows=7.5, period="day", num_periods=2),
        rows=Limits(min=1, max=9),
        labels={"click": Limits(min=0.1, max=0.2)},
        unseen={"user": 0.5, "1e5": 0.25},
        columns=columns,
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    made = expectations(
        price=ColumnExpectation(
            type="float",
            nulls=0.1,
            range=Limits(min=-1e-7, max=1e300),
            bins=Bins(start=0.1 + 0.2, upto=(1 / 3, 5.0), shares=(0.25, 0.7)),
            missing=0.05,
            drift=Drift(psi=0.3),
            severity={"psi": "stop"},
        ),
        user=ColumnExpectation(type="string", top=dict.fromkeys(TRICKY, 0.01), rest=0.9, domain=TRICKY, auc=0.9),
        **{"1e3": ColumnExpectation(type="")},
    )
    assert save(made, tmp_path / "e.yaml")
    assert load(tmp_path / "e.yaml") == made


def test_the_same_expectations_are_not_written_twice_and_an_edited_file_stays(tmp_path: Path) -> None:
    made, path = expectations(a=ColumnExpectation(type="int")), tmp_path / "deep" / "e.yaml"
    assert save(made, path)
    assert not save(made, path)
    edited = path.read_text().replace("max: 9.0", "max: 12.0")
    path.write_text(edited)
    with pytest.raises(ConfigError, match=r"edited by hand; set schema.overwrite=true"):
        save(made, path)
    assert path.read_text() == edited
    assert load(path).rows.max == 12
    assert save(made, path, overwrite=True)
    assert load(path) == made
    assert [name.name for name in path.parent.iterdir()] == ["e.yaml"]


def test_a_category_may_be_written_as_a_whole_number(tmp_path: Path) -> None:
    made = expectations(a=ColumnExpectation(type="int", top={"3": 0.5}, domain=("3", "4")))
    save(made, tmp_path / "e.yaml")
    text = (tmp_path / "e.yaml").read_text()
    (tmp_path / "e.yaml").write_text(text.replace("'3'", "3"))
    assert load(tmp_path / "e.yaml") == made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("nulls: 0.1", "nuls: 0.1"), r"columns\.a\.nuls: no such setting; did you mean nulls\?"),
        (("nulls: 0.1", "nulls: 1.5"), r"columns\.a\.nulls: input should be less than or equal to 1, got 1\.5"),
        (("min: 1.0", "min: 20.0"), r"rows: min 20 is above max 9"),
        (("upto: [1.0, 2.0]", "upto: [2.0, 1.0]"), r"columns\.a\.bins: start and upto must rise"),
        (("shares: [0.5, 0.5]", "shares: [1.0]"), r"columns\.a\.bins: 2 bins need as many shares, not 1"),
        (("drift:", "severity: {psi: halt}\n    drift:"), r"columns\.a\.severity\.psi: input should be 'note', 'warn'"),
        (("format_version: 1", "format_version: 2"), r"format_version: input should be 1, got 2"),
        (("dataset: d\n", ""), r"dataset: is required"),
        (("domain: ['x']", "domain: [0.5]"), r"columns\.b\.domain\.0: 0\.5 is no category; write it in quotes"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    bins = Bins(start=0.0, upto=(1.0, 2.0), shares=(0.5, 0.5))
    made = expectations(
        a=ColumnExpectation(type="float", nulls=0.1, bins=bins, drift=Drift()),
        b=ColumnExpectation(type="string", domain=("x",)),
    )
    path = tmp_path / "e.yaml"
    save(made, path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ConfigError, match=says) as told:
        load(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows: {min: 1", "is not valid YAML"),
        ("- 1\n- 2\n", "must be a mapping of settings; it holds"),
        ("a: 1\na: 2\n", "'a' is given twice"),
    ],
)
def test_a_file_that_is_no_expectations_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "e.yaml")


def test_a_missing_file_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist; `ctrgate schema`"):
        load(tmp_path / "none.yaml")


def test_bins_and_categories_exclude_each_other_and_drift_needs_one() -> None:
    some: dict[str, Any] = {"type": "", "bins": Bins(start=0, upto=(1,), shares=(1,))}
    with pytest.raises(ValueError, match="give one"):
        ColumnExpectation(top={"a": 1.0}, **some)
    with pytest.raises(ValueError, match="drift needs"):
        dataclasses.replace(ColumnExpectation(type="", drift=Drift(), **{"bins": some["bins"]}), bins=None)


def test_the_docs_show_a_file_that_loads_and_the_severities_that_hold(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    (tmp_path / "e.yaml").write_text(text.partition("```yaml expectations/clicks.yaml\n")[2].partition("```")[0])
    assert load(tmp_path / "e.yaml").columns["price"].severity == {"range": "stop"}
    told = {}
    for names, severity in re.findall(r"^\| (`[a-z_`, ]+`) \| (note|warn|stop) \|", text, flags=re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"\w+", names), severity)
    assert told == dump(Severities())
    assert set(told) == set(get_args(Rule))
