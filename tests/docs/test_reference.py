"""The reference that is made of the code: every section, every settings class, every setting, each with its meaning."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Literal

import pytest
from pydantic import Field

from ctrgate.config import SECTIONS, settings
from ctrgate.errors import ConfigError
from ctrgate.features.kinds.bag import Bag
from ctrgate.models.experts import DSelectKConfig
from ctrgate.models.final_mlp import FinalMLPConfig
from docs.site.generated import DOCS, link_from, section_pages
from docs.site.pages import page
from docs.site.sections import homes, networks
from docs.site.settings import anchor, settings_of, table, tag_of


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The pages that hold settings, as the builder gets them."""
    written = {f"reference/{path.name}": path.read_text() for path in (DOCS / "reference").glob("*.md")}
    return {place: page(text, source=f"docs/{place}") for place, text in written.items()} | section_pages()


def test_every_section_has_its_line_with_a_purpose_and_its_readers(pages: dict[str, str]) -> None:
    table_of_sections = pages["reference/run_file.md"].partition("\n## ")[0]
    lines = re.findall(r"^\| (?:\[)?`(\w+)`.*? \|(.*)\|$", table_of_sections, flags=re.MULTILINE)
    told = {name: [cell.strip() for cell in cells.split("|")] for name, cells in lines}
    assert tuple(told) == SECTIONS
    for name, (about, default, readers) in told.items():
        assert len(about) > 8, name
        assert bool(default) == bool(readers) == (name != "report")


def test_every_setting_of_every_section_is_told_with_a_description(pages: dict[str, str]) -> None:
    assert len(homes()) > 100
    for cls, place in homes().items():
        heading = rf"^#+ .*\{{#{re.escape(anchor(cls))}\}}$"
        assert len(re.findall(heading, pages[place], flags=re.MULTILINE)) == 1, f"{cls.__name__} on {place}"
        block = re.split(heading, pages[place], flags=re.MULTILINE)[1].partition("\n## ")[0]
        assert inspect.getdoc(cls) in block, cls.__name__
        for name, setting in settings_of(cls).items():
            assert len(setting.description or "") > 5, f"{cls.__name__}.{name} lacks its docstring"
            (line,) = re.findall(rf"^\| `{name}` \| (.+)$", block, flags=re.MULTILINE)
            assert line.count(" | ") == 2, f"{cls.__name__}.{name}: {line}"


def test_no_two_tables_share_an_anchor() -> None:
    places = [(place, anchor(cls)) for cls, place in homes().items()]
    assert len(set(places)) == len(places)


def test_a_network_s_own_table_stands_wherever_its_mark_does() -> None:
    for cls in networks():
        name = (tag_of(cls) or ("", ""))[1]
        text = page(f"# Title\n\n<!-- settings: {name} -->\n", source=f"docs/models/{name}.md")
        assert text == f"# Title\n\n{table(cls, link=link_from(f'models/{name}.md'))}\n"
    assert link_from("models/ple.md")(DSelectKConfig) == "../reference/networks.md#DSelectKConfig"
    assert link_from("reference/features.md")(Bag) == "#Bag"


def test_a_mark_that_names_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="final_mpl"):
        page("<!-- settings: final_mpl -->", source="docs/models/final_mlp.md")
    with pytest.raises(ConfigError, match="setting"):
        page("<!-- setting: final_mlp -->", source="docs/models/final_mlp.md")


@settings
class Inner:
    """Something within."""

    rate: Annotated[float, Field(ge=0, lt=1)] = 1e-3
    """A rate."""


@settings
class Outer:
    """Every form that a setting takes."""

    kind: Literal["outer"] = "outer"
    names: tuple[str, ...]
    """Names,
    on two lines."""
    inner: Inner = Inner(rate=0.5)
    """Within ``inner``."""
    choice: Literal["a", "b"] | None = None
    """One of ``a | b``."""


def test_types_defaults_and_meanings_are_in_the_words_of_a_run_file() -> None:
    assert table(Outer, link=lambda cls: f"#{anchor(cls)}").splitlines()[4:7] == [
        "| `names` | Names, on two lines. | list of text | required |",
        "| `inner` | Within `inner`. | [section](#Inner) | `{rate: 0.5}` |",
        "| `choice` | One of `a | b`. | `a` or `b` or `null` | `null` |",
    ]
    assert "| `rate` | A rate. | number ≥ 0, < 1 | `0.001` |" in table(Inner, link=anchor)


def test_defaults_of_a_network_leave_out_what_a_part_has_anyway() -> None:
    assert "| `{hidden: [400]}` |" in table(FinalMLPConfig, link=anchor)
