"""The pages about networks: each network has one, and what it says of settings, files, sizes and gates holds."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

import ctrgate.layers
from ctrgate import prepare, train
from ctrgate.config import load
from ctrgate.contracts import Batch, Ids
from ctrgate.errors import ConfigError
from ctrgate.features.layout import Field, Layout, Member, SequenceGroup
from ctrgate.features.prepared import Prepared
from ctrgate.metrics.gate_limits import DEAD, NEAR_ZERO, SATURATED, UNUSED
from ctrgate.models.experts import ExpertGateConfig
from ctrgate.models.network import NetworkConfig, task_of
from ctrgate.models.registry import ModelConfig
from ctrgate.models.tables import TablesConfig
from ctrgate.training.gate_segments import MAX_SEGMENTS
from ctrgate.training.model import CtrModel, build_model
from ctrgate.training.selection import SelectConfig

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "models"
EXPERIMENTS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "configs/experiments").glob("*.yaml")}
CONFIGS = {config.name: config for config in typing.get_args(typing.get_args(ModelConfig)[0])}
TOPICS = ("expert_gates", "fdo", "optfs")
"""Pages about what is set beside or within a network."""
SECTIONS = ("How it is computed", "Where it comes from", "Settings", "Numbers", "Gates")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
WORDS = "Delta alpha cdot epsilon exp frac gamma lambda ldots mathrm odot phi quad rho sigma sqrt sum tau top"
"""What formulas are written with: a page's formulas are to become MathML by a small converter."""

LAYOUT = Layout(
    fields=(
        Field(name="user", kind="id", table="user"),
        Field(name="item", kind="id", table="item"),
        Field(name="device", kind="id", table="device"),
        Field(name="tags", kind="bag", table="tags", pooling="mean"),
        Field(name="price", kind="number"),
    ),
    sequences=(
        SequenceGroup(
            name="history", max_length=20, members=(Member(name="item", column="history/item", table="item"),)
        ),
    ),
    tables={"user": 11, "item": 13, "device": 4, "tags": 5},
    labels=("clicked",),
    roles={},
)
FIELDS = {field.name for field in LAYOUT.fields}
FRAPPE = {
    "user": 956, "item": 4084, "daytime": 9, "weekday": 9, "isweekend": 4,
    "homework": 5, "cost": 4, "weather": 11, "country": 82, "city": 235,
}  # fmt: skip
BEAUTY = 12_070
"""12,068 items that train has seen, padding and unknown."""


def block(page: str) -> dict[str, Any]:
    """The sections of the run file that a page prints."""
    ((name, text),) = re.findall(r"^```yaml (\S+)\n(.*?)^```$", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert name == f"{page}.yaml"
    sections: dict[str, Any] = yaml.safe_load(text)
    return sections


def section(page: str, title: str) -> str:
    """The text below a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    assert found, f"{page}.md has no section {title!r}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of a table's lines, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run file over rows with histories, whose prepared folder is there; without a model."""
    folder, random = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    pl.DataFrame(
        {
            "user": random.integers(9, size=240),
            "item": random.integers(11, size=240),
            "device": random.choice(["phone", "desktop"], size=240),
            "tags": [["sale", "shoes", "new"][: random.integers(4)] for _ in range(240)],
            "price": random.lognormal(size=240),
            "history": [random.integers(11, size=random.integers(20)).tolist() for _ in range(240)],
            "clicked": random.integers(2, size=240),
        }
    ).write_parquet(folder / "rows.parquet")
    sections = {
        "name": "page",
        "runs": str(folder / "runs"),
        "dataset": {
            "name": "pages",
            "files": str(folder / "rows.parquet"),
            "split": {"by": "order", "valid": 0.2, "test": 0.1},
            "labels": [{"name": "clicked"}],
            "roles": {"group": "user"},
            "features": [
                {"kind": "categorical", "name": "user"},
                {"kind": "categorical", "name": "item"},
                {"kind": "categorical", "name": "device"},
                {"kind": "bag", "name": "tags"},
                {"kind": "numeric", "name": "price"},
                {
                    "kind": "sequence",
                    "name": "history",
                    "max_length": 20,
                    "members": [{"kind": "categorical", "name": "item", "column": "history", "share": "item"}],
                },
            ],
        },
        "prepare": {"into": str(folder / "prepared")},
        "tables": {"dim": 8, "init_std": 0.1},
        "train": {"epochs": 1, "batch_size": 64},
        "tracking": {"enabled": False},
    }
    prepare.run(load(written(sections, folder / "prepare.yaml"), prepare.Config))
    return sections


def written(sections: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return path


def model(page: str) -> CtrModel:
    """The network that a page prints, over a small layout."""
    config = network_of(block(page)["model"])
    return build_model(config, layout=LAYOUT, tables=tables_of({"dim": 8, "init_std": 0.1}), seed=0)


def network_of(values: dict[str, Any]) -> NetworkConfig:
    """The settings that a ``model`` section is."""
    network: NetworkConfig = TypeAdapter(ModelConfig).validate_python(values)
    return network


def tables_of(values: dict[str, Any]) -> TablesConfig:
    """The settings that a ``tables`` section is."""
    return TypeAdapter(TablesConfig).validate_python(values)


def rows(num_rows: int) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def drawn(name: str, count: int) -> torch.Tensor:
        return torch.randint(1, LAYOUT.tables[name], (count,), generator=generator)

    lengths, past = (torch.randint(0, most, (num_rows,), generator=generator) for most in (3, 20))
    return Batch(
        num_rows=num_rows,
        ids={
            **{name: Ids(values=drawn(name, num_rows)) for name in ("user", "item", "device")},
            "tags": Ids(values=drawn("tags", int(lengths.sum())), lengths=lengths),
            "history/item": Ids(values=drawn("item", int(past.sum())), lengths=past),
        },
        numbers=torch.randn(num_rows, 1, generator=generator),
    )


def gates(of: nn.Module) -> set[str]:
    """The names of the classes that a report would show."""
    return {
        type(module).__name__
        for module in of.modules()
        if getattr(module, "slot", "value") != "value" and (module.slot == "expert" or hasattr(module, "factor"))
    }


def test_every_network_has_its_page_and_every_page_its_network() -> None:
    assert set(PAGES) == {"index", *TOPICS, *CONFIGS}


@pytest.mark.parametrize("page", [*CONFIGS, *TOPICS])
def test_a_page_has_its_sections_and_is_short(page: str) -> None:
    assert re.findall(r"^## (.*)$", PAGES[page], flags=re.MULTILINE) == list(SECTIONS)
    lines = PAGES[page].splitlines()
    assert 35 <= len(lines) <= 100, len(lines)
    assert max(len(line) for line in lines if not line.startswith(("|", "$$"))) <= 120


@pytest.mark.parametrize("page", CONFIGS)
def test_a_page_asks_for_the_table_of_its_own_settings(page: str) -> None:
    assert re.findall(r"<!-- settings: .*", PAGES[page]) == [f"<!-- settings: {page} -->"]
    assert f"\n<!-- settings: {page} -->\n" in section(page, "Settings")
    assert block(page)["model"]["name"] == page


@pytest.mark.parametrize("page", [*CONFIGS, *TOPICS])
def test_settings_that_a_page_names_exist(page: str) -> None:
    """In the section about settings, what stands in code marks and is one lower-case word."""
    printed = block(page)
    named = set(re.findall(r"`([a-z][a-z0-9_]*)`", section(page, "Settings")))
    known = {"model", "tables", "objective", "select", "train", "dataset", "widths", *CONFIGS, *EXPERIMENTS}
    known |= _names_within(CONFIGS[printed["model"]["name"]]) | _names_within(train.Config)
    known |= _values_of(printed)
    assert named - known == set()


def _names_within(config: object) -> set[str]:
    """Names and literal values of settings, at any depth."""
    found: set[str] = set()
    if dataclasses.is_dataclass(config) and str(getattr(config, "__module__", "")).startswith("ctrgate."):
        for name, hint in typing.get_type_hints(config, include_extras=True).items():
            found |= {name} | _names_within(hint)
    elif typing.get_origin(config) is typing.Literal:
        found |= {value for value in typing.get_args(config) if isinstance(value, str)}
    else:
        for part in typing.get_args(config):
            found |= _names_within(part)
    return found


def _values_of(printed: object) -> set[str]:
    if isinstance(printed, dict):
        return set().union(*(_values_of(value) for value in printed.values()), {str(key) for key in printed})
    if isinstance(printed, list):
        return set().union(*(_values_of(value) for value in printed))
    return {printed} if isinstance(printed, str) else set()


@pytest.mark.parametrize("page", [*CONFIGS, *TOPICS])
def test_the_printed_network_answers_rows_and_learns_an_epoch(
    page: str, prepared: dict[str, Any], tmp_path: Path
) -> None:
    network = model(page).eval()
    with torch.no_grad():
        output, _ = network(rows(7))
    assert (output.query if output.logits is None else output.logits).isfinite().all()
    printed = block(page)
    sections = {**prepared, **printed, "name": page}
    sections["tables"] = {**prepared["tables"], **printed.get("tables", {})}
    config = load(written(sections, tmp_path / f"{page}.yaml"), train.Config)
    assert Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset).layout.tables["device"] == 4
    result = train.run(config)
    assert result["valid"]
    assert all(np.isfinite(value) for value in result["valid"].values())


@pytest.mark.parametrize("page", CONFIGS)
def test_the_run_files_of_a_network_are_those_that_its_page_names(page: str) -> None:
    having = {name for name, sections in EXPERIMENTS.items() if sections["model"]["name"] == page}
    named = set(re.findall(r"`(\w+)\.yaml`", section(page, "Settings")))
    assert named == having


@pytest.mark.parametrize("page", [*CONFIGS, *TOPICS])
def test_measured_numbers_are_those_of_the_reproductions(page: str) -> None:
    lines = (ROOT / "docs" / "reproductions.md").read_text(encoding="utf-8").replace("**", "").splitlines()
    cells = table(section(page, "Numbers"))
    assert cells
    for what, measured, *_ in cells:
        numbers = re.findall(r"0?(\.\d+)", measured)
        assert bool(numbers) != measured.startswith("not measured here"), what
        named = set(re.findall(r"\w+", what)) & set(EXPERIMENTS)
        telling = [set(re.findall(r"\w+", line)) & set(EXPERIMENTS) for line in lines if _holds(line, numbers)]
        assert any(not runs or not named or named <= runs for runs in telling), f"{page}: {what} {numbers}"


def _holds(line: str, numbers: list[str]) -> bool:
    return all(re.search(rf"{re.escape(number)}(?!\d)", line) for number in numbers)


@pytest.mark.parametrize("page", CONFIGS)
def test_the_gates_that_a_page_tells_of_are_those_of_its_network(page: str) -> None:
    text = section(page, "Gates")
    shown = gates(model(page))
    assert shown <= set(re.findall(r"`(\w+)`", text)), shown
    assert bool(shown) != text.strip().startswith("It has no gate")


@pytest.mark.parametrize("page", [*CONFIGS, *TOPICS])
def test_every_class_that_a_page_names_exists(page: str) -> None:
    modules = [import_module(f"ctrgate.layers.{found.name}") for found in pkgutil.iter_modules(ctrgate.layers.__path__)]
    known = {name for module in modules for name, value in vars(module).items() if inspect.isclass(value)}
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGES[page])) - known - {"Fields", "Output"} == set()


def test_the_page_about_expert_gates_tells_of_each() -> None:
    names = {config.name for config in typing.get_args(typing.get_args(ExpertGateConfig)[0])}
    told = {line[0].strip("`") for line in table(section("expert_gates", "How it is computed"))}
    assert told == names


def test_the_page_about_values_tells_of_each_gate() -> None:
    names = {config.name for config in typing.get_args(typing.get_args(SelectConfig)[0])}
    assert {f"`{name}`" for name in names} <= set(re.findall(r"`\w+`", section("optfs", "How it is computed")))


@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_plain(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`", "", text)
    formulas = re.findall(r"\$\$([^$]+)\$\$|\$([^$\n]+)\$", text)
    assert text.count("$") == 2 * len(formulas) + 2 * sum(bool(shown) for shown, _ in formulas)
    for shown, within in formulas:
        formula = shown or within
        assert "\n" not in formula, formula
        assert set(re.findall(r"\\([a-zA-Z]+)", formula)) <= set(WORDS.split()), formula
        assert formula.count("{") == formula.count("}"), formula
        assert formula.count("(") == formula.count(")"), formula
        assert "|" not in formula, formula
    assert page in ("index",) or formulas


def test_the_index_links_every_page() -> None:
    assert set(re.findall(r"\]\((\w+)\.md\)", PAGES["index"])) == {*CONFIGS, *TOPICS}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGES[page]):
        assert target.startswith("https://") or (FOLDER / target).exists(), target


def test_the_index_gives_sizes_that_are_counted() -> None:
    frappe = Layout(
        fields=tuple(Field(name=name, kind="id", table=name) for name in FRAPPE),
        sequences=(),
        tables=FRAPPE,
        labels=("label",),
        roles={},
    )
    beauty = dataclasses.replace(
        LAYOUT,
        fields=(Field(name="item", kind="id", table="item"),),
        sequences=(dataclasses.replace(LAYOUT.sequences[0], max_length=50),),
        tables={"item": BEAUTY},
        labels=(),
    )
    found = re.findall(r"([\d,]{4,}) \(`(\w+)`\)", PAGES["index"])
    told = {name: int(size.replace(",", "")) for size, name in found}
    assert set(told) >= {name for name in EXPERIMENTS if name.startswith("beauty") and "prefixes" not in name}
    for name, size in told.items():
        layout = frappe if name.startswith("frappe") else beauty
        network = network_of(EXPERIMENTS[name]["model"])
        built = build_model(network, layout=layout, tables=tables_of(EXPERIMENTS[name]["tables"]), seed=0)
        assert built.num_parameters == size, name


def test_the_index_gives_the_limits_by_which_gates_are_counted() -> None:
    text = " ".join(section("index", "How to read a gate report").split())
    assert f"within {100 * SATURATED:g} % of an end" in text
    assert f"smaller than {NEAR_ZERO:g}".replace("0.", ".") in text
    assert f"below {100 * DEAD:g} % of the neutral factor" in text
    assert f"below {100 * UNUSED:g} % of an equal share" in text
    assert f"the {MAX_SEGMENTS} values with most rows" in text


def test_the_index_says_what_each_network_needs_and_allows() -> None:
    lines = {name: cells for cells in table(PAGES["index"]) for name in re.findall(r"\((\w+)\.md\)", cells[0])}
    assert set(lines) >= set(CONFIGS)
    for name, config in CONFIGS.items():
        _, slots, histories, values, widths, spread, _ = lines[name]
        next_item = task_of(config) == "next_item"
        assert histories == _needs_histories(config), name
        assert values == ("no" if next_item else "yes"), name
        assert widths == ("yes" if _has_widths(name) else "no"), name
        assert spread == ("with drawn items" if next_item else "yes"), name
        found = {gate.slot for gate in model(name).modules() if getattr(gate, "slot", "value") != "value"}
        assert found <= set(re.findall(r"\w+", slots)), name


def _has_widths(name: str) -> bool:
    """Whether ``ctrgate widths`` would find fields with tables of more than one column."""
    return any(
        lookup.name in FIELDS and spec.dim > 1
        for lookup in model(name).lookups.lookups
        for spec in model(name).lookups.specs
        if spec.name == lookup.table
    )


def _needs_histories(config: type) -> str:
    """Whether a network can be built without sequences, and whether it reads them where there are some."""
    bare = dataclasses.replace(LAYOUT, sequences=())
    try:
        config().embeddings(bare)
    except ConfigError:
        return "yes"
    reads = any(hasattr(request, "sequence") for request in config().embeddings(LAYOUT))
    return "read where there are some" if reads else "no"
