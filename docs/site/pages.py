"""The pages as the site's builder takes them: marks replaced, links that leave ``docs/`` told as paths, in an order."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ctrgate.config import to_yaml
from ctrgate.errors import ConfigError
from docs.site.blocks import without_marks
from docs.site.generated import DOCS, MARKS, section_pages
from docs.site.sections import sections

__all__ = ["compose", "navigation", "page"]

ROOT = DOCS.parent
SITE = DOCS / "site"
MARK = re.compile(r"^<!-- (?P<mark>\w+)(?:: (?P<of>\S+))? -->$", flags=re.MULTILINE)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")

ORDER = {
    "Start": ["index.md", "quick_start.md", "adding.md", "coming_from.md"],
    "Guides": [
        *("daily.md", "operations.md", "scale.md", "tuning.md", "tracking.md", "validation.md", "comparison.md"),
        *("promotion.md", "scoring.md", "calibration.md", "selection.md", "reproduction.md"),
    ],
    "Models": ["models/index.md"],
    "Reference": ["reference/run_file.md", "reference/features.md", "reference/splits.md", "reference/networks.md"],
    "Measurements": ["reproductions.md", "performance.md"],
}
"""The parts of the site and the pages that begin each; a page that is not named comes after them (``_part_of``)."""


def compose(into: Path) -> None:
    """Write all that the builder needs: pages, figures, what the design adds, and ``mkdocs.yml``."""
    shutil.rmtree(into, ignore_errors=True)
    pages = dict(_written()) | section_pages()
    for place, text in pages.items():
        target = into / "pages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(text, place=place), encoding="utf-8")
    for folder in (DOCS / "figures", SITE / "assets"):
        shutil.copytree(folder, into / "pages" / folder.name)
    inherited = {"INHERIT": os.path.relpath(SITE / "mkdocs.yml", into), "nav": navigation(pages)}
    (into / "mkdocs.yml").write_text(to_yaml(inherited), encoding="utf-8")


def page(text: str, *, place: str) -> str:
    """A page with its marks replaced, and fences and links as the site has them.

    Args:
        text: As it is in the repository.
        place: Its path below ``docs/``.
    """
    text = MARK.sub(lambda found: _replaced(found, place=place), text)
    return LINK.sub(lambda found: _linked(found, place=place), without_marks(text))


def navigation(pages: Iterable[str]) -> list[dict[str, Any]]:
    """The parts of the site with their pages, as the builder takes them; sections are in the run file's order."""
    left = set(pages)
    own = [section.page for section in sections() if section.page in section_pages() and section.page in left]
    left -= set(own)
    parts: dict[str, list[Any]] = {}
    for part, first in ORDER.items():
        parts[part] = [place for place in first if place in left]
        left -= set(parts[part])
    for place in sorted(left):
        parts[_part_of(place)].append(place)
    if own:
        parts["Reference"][0:1] = [{"Run file": [*parts["Reference"][:1], *own]}]
    return [{part: places} for part, places in parts.items() if places]


def _part_of(place: str) -> str:
    """Where a page belongs that no order names."""
    folders = {"models": "Models", "reference": "Reference"}
    single = {"artifact.md": "Reference", "architecture.md": "Reference"}
    return single.get(place) or folders.get(PurePosixPath(place).parts[0], "Guides")


def _written() -> Iterator[tuple[str, str]]:
    for path in sorted(DOCS.rglob("*.md")):
        yield path.relative_to(DOCS).as_posix(), path.read_text(encoding="utf-8")


def _replaced(found: re.Match[str], *, place: str) -> str:
    if found["mark"] not in MARKS:
        raise ConfigError(f"{place}: <!-- {found['mark']} --> is no mark; known are {', '.join(MARKS)}")
    return MARKS[found["mark"]](found["of"] or "", place)


def _linked(found: re.Match[str], *, place: str) -> str:
    """A link within ``docs/`` as it is; one to another file of the repository as that file's path."""
    to = found["to"]
    if "://" in to or to.startswith("mailto:"):
        return found[0]
    target = os.path.normpath(os.path.join("docs", PurePosixPath(place).parent, to))
    if target.startswith("docs/"):
        return found[0]
    if not (ROOT / target).exists():
        raise ConfigError(f"{place}: the link {to} leads nowhere")
    return f"`{target}`" if found["text"].strip("`") in (target, to, Path(to).name) else f"{found['text']} (`{target}`)"
