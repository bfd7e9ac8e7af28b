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
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")

ORDER = {
    "Start": ["index.md", "quick_start.md", "coming_from.md"],
    "Guides": [
        *("daily.md", "operations.md", "scale.md", "tuning.md", "tracking.md", "validation.md", "comparison.md"),
        *("promotion.md", "scoring.md", "calibration.md", "selection.md", "reproduction.md"),
    ],
    "Models": ["models/index.md"],
    "Reference": [
        *("reference/run_file.md", "reference/features.md", "reference/splits.md", "reference/networks.md"),
        *("reference/expectations.md", "artifact.md"),
    ],
    "Measurements": ["reproductions.md", "performance.md"],
    "Development": [
        *("architecture.md", "adding.md", "python/contracts.md", "python/features.md", "python/layers.md"),
        *("python/models.md", "contributing.md", "changelog.md"),
    ],
}
"""The parts of the site and the pages that begin each; a page that is not named comes after them (``_part_of``)."""
LABELS = {
    "index.md": "Home",
    "daily.md": "Every day",
    "scale.md": "Several workers",
    "tuning.md": "Search",
    "calibration.md": "Calibration",
    "selection.md": "Selection",
    "reproduction.md": "Reproduction",
    "models/index.md": "Overview",
    "reference/networks.md": "Networks",
}
"""What the navigation calls a page whose own title is longer, or says less beside the others."""
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie where code hosts look for them."""


def compose(into: Path) -> None:
    """Write all that the builder needs: pages, figures, what the design adds, and ``mkdocs.yml``."""
    shutil.rmtree(into, ignore_errors=True)
    pages = dict(_written()) | section_pages()
    for place, text in pages.items():
        target = into / "pages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for folder in (DOCS / "figures", SITE / "assets"):
        shutil.copytree(folder, into / "pages" / folder.name)
    inherited = {"INHERIT": os.path.relpath(SITE / "mkdocs.yml", into), "nav": navigation(pages)}
    (into / "mkdocs.yml").write_text(to_yaml(inherited), encoding="utf-8")


def page(text: str, *, source: str) -> str:
    """A page with its marks replaced, and fences and links as the site has them.

    Args:
        text: As it is in the repository.
        source: Where, from the repository's root.
    """
    text = MARK.sub(lambda found: _replaced(found, place=_place(source)), text)
    return LINK.sub(lambda found: _linked(found, source=source), without_marks(text))


def _place(source: str) -> str:
    """Where a file of the repository is among the site's pages."""
    return ROOT_PAGES.get(source) or source.removeprefix("docs/")


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
    return [{part: [_labelled(place) for place in places]} for part, places in parts.items() if places]


def _labelled(place: Any) -> Any:
    return {LABELS[place]: place} if isinstance(place, str) and place in LABELS else place


def _part_of(place: str) -> str:
    """Where a page belongs that no order names."""
    return {"models": "Models", "reference": "Reference"}.get(PurePosixPath(place).parts[0], "Guides")


def _written() -> Iterator[tuple[str, str]]:
    """The pages that are written by hand, with their place."""
    for path in [*(ROOT / name for name in ROOT_PAGES), *sorted(DOCS.rglob("*.md"))]:
        source = path.relative_to(ROOT).as_posix()
        yield _place(source), page(path.read_text(encoding="utf-8"), source=source)


def _replaced(found: re.Match[str], *, place: str) -> str:
    if found["mark"] not in MARKS:
        raise ConfigError(f"{place}: <!-- {found['mark']} --> is no mark; known are {', '.join(MARKS)}")
    return MARKS[found["mark"]](found["of"] or "", place)


def _linked(found: re.Match[str], *, source: str) -> str:
    """A link to another page as the site has it; one to any other file of the repository as that file's path."""
    text, to = found["text"], found["to"]
    if "://" in to or to.startswith("mailto:"):
        return found[0]
    target = os.path.normpath(os.path.join(PurePosixPath(source).parent, to))
    inside = target in ROOT_PAGES or target.startswith("docs/")
    if not (inside and target.endswith(".md")) and not (ROOT / target).exists():  # the builder looks for pages
        raise ConfigError(f"{source}: the link {to} leads nowhere")
    if inside:
        way = os.path.relpath(_place(target), PurePosixPath(_place(source)).parent)
        return f"{found['image']}[{text}]({way}{found['anchor'] or ''})"
    return f"`{target}`" if text.strip("`") in (target, to, Path(to).name) else f"{text} (`{target}`)"
