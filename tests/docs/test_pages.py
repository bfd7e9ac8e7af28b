"""Pages as the builder takes them: links, fences, and an order that no page is missing from."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ctrgate.errors import ConfigError
from docs.site.generated import DOCS
from docs.site.pages import compose, navigation, page


def places(entry: object) -> list[str]:
    """All pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    assert not isinstance(parts, str)
    return [place for part in parts for place in places(part)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_once(tmp_path: Path) -> None:
    compose(tmp_path / "site")
    pages = tmp_path / "site" / "pages"
    found = places(yaml.safe_load((tmp_path / "site" / "mkdocs.yml").read_text())["nav"])
    assert sorted(found) == sorted(path.relative_to(pages).as_posix() for path in pages.rglob("*.md"))
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} <= set(found)
    assert (pages / "figures" / "cross_depth.svg").is_file()
    assert (pages / "assets" / "site.css").is_file()


def test_a_new_page_finds_its_part_without_being_told() -> None:
    parts = {part: pages for entry in navigation(["models/zeta.md", "models/alpha.md", "new.md", "index.md"])
             for part, pages in entry.items()}  # fmt: skip
    assert parts == {
        "Start": [{"Home": "index.md"}],
        "Guides": ["new.md"],
        "Models": ["models/alpha.md", "models/zeta.md"],
    }


def test_what_stands_after_a_fence_s_language_is_for_the_tests_alone() -> None:
    text = page("```sh run\nctrgate doctor\n```\n\n  ```yaml run.yaml\n  a: 1\n  ```\n```text\n", source="docs/a.md")
    assert text == "```sh\nctrgate doctor\n```\n\n  ```yaml\n  a: 1\n  ```\n```text\n"


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("[daily](daily.md#kills)", "[daily](daily.md#kills)"),
        ("[x](https://example.com/a.md)", "[x](https://example.com/a.md)"),
        ("[the demo](../configs/experiments/demo.yaml)", "the demo (`configs/experiments/demo.yaml`)"),
        ("[`configs/experiments/demo.yaml`](../configs/experiments/demo.yaml)", "`configs/experiments/demo.yaml`"),
        ("[to change it](../CONTRIBUTING.md#tests)", "[to change it](contributing.md#tests)"),
        ("![a figure](figures/cross_depth.svg)", "![a figure](figures/cross_depth.svg)"),
    ],
)
def test_a_link_out_of_the_documents_is_told_as_a_path(link: str, told: str) -> None:
    assert page(link, source="docs/a.md") == told


def test_pages_at_the_root_find_the_others() -> None:
    assert (
        page("[days](docs/daily.md) [m](docs/models/fm.md)", source="CONTRIBUTING.md")
        == "[days](daily.md) [m](models/fm.md)"
    )


@pytest.mark.parametrize(
    "link", ["[the demo](../../configs/experiments/demos.yaml)", "![a figure](../figures/none.svg)"]
)
def test_a_link_to_a_file_that_is_not_there_is_an_error(link: str) -> None:
    with pytest.raises(ConfigError, match="leads nowhere"):
        page(link, source="docs/models/a.md")
