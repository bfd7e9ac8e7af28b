"""What no hand writes: tables of settings, of sections and of networks, and a page for each section."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from ctrgate.errors import ConfigError
from ctrgate.features.dataset import Split
from ctrgate.features.kinds.registry import Feature
from ctrgate.models.network import task_of
from ctrgate.validation.expectations import Expectations
from docs.site.sections import Section, homes, nested, networks, sections
from docs.site.settings import Link, anchor, boxed, classes_in, heading, table, tag_of

__all__ = ["DOCS", "MARKS", "link_from", "section_pages"]

DOCS = Path(__file__).parents[1]


def section_pages() -> dict[str, str]:
    """The page of each section that has one to itself, by its place."""
    return {section.page: _section_page(section) for section in sections() if section.page.startswith("reference/sec")}


def link_from(page: str) -> Link:
    """Where the tables of settings classes stand, seen from a page."""

    def link(cls: type) -> str:
        return f"{_way(page, to=homes()[cls])}#{anchor(cls)}"

    return link


def _way(page: str, *, to: str) -> str:
    """From one page to another; empty to itself."""
    return "" if page == to else os.path.relpath(to, PurePosixPath(page).parent)


def _section_page(section: Section) -> str:
    """What a section is for, which verbs read it, and every setting; one class needs no heading of its own."""
    readers = ", ".join(f"`{reader}`" for reader in section.readers)
    about = f"{section.about} Read by {readers}; default: {section.default}."
    told = "\n\n".join(_told(section.classes, path=section.name, page=section.page))
    if len(section.classes) > 1:
        return f"# {section.name}\n\n{about}\n\n{told}\n"
    told = told.partition("\n\n")[2].removeprefix(f"{section.about}\n\n")
    return f"# {section.name} {{#{anchor(section.classes[0])}}}\n\n{about}\n\n{told}\n"


def _told(classes: Iterable[type], *, path: str = "", page: str) -> Iterator[str]:
    """Each class and all that its settings hold: heading, docstring, table; what other pages tell is left out."""
    elsewhere = {cls for cls, home in homes().items() if home != page}
    for place, cls in nested(classes, known=elsewhere, path=path):
        yield f"## {heading(cls, path=place)} {{#{anchor(cls)}}}"
        yield inspect.getdoc(cls) or ""
        if cls in networks():
            yield f"Code: `{_code(cls)}`."
        yield table(cls, link=link_from(page))


def _code(cls: type) -> str:
    return cls.__module__.replace(".", "/") + ".py"


def _settings(name: str, page: str) -> str:
    """The own settings of a network or of a section, by its name; what they hold is linked to."""
    known = {_name(cls): cls for cls in networks()}
    known |= {section.name: section.classes[0] for section in sections() if len(section.classes) == 1}
    if name not in known:
        raise ConfigError(f"{page}: <!-- settings: {name} --> names neither a network nor a section of one kind")
    return table(known[name], link=link_from(page))


def _name(network: type) -> str:
    return (tag_of(network) or ("", ""))[1]


def _sections(_: str, page: str) -> str:
    """A line for each section: its name, purpose, default and readers."""
    lines = ["| section | what it is for | default | read by |", "|---|---|---|---|"]
    for section in sections():
        way = _way(page, to=section.page)
        name = f"[`{section.name}`]({way})" if way else f"`{section.name}`"
        lines.append(f"| {name} | {section.about} | {section.default} | {', '.join(section.readers)} |")
    return boxed(lines)


def _features(_: str, page: str) -> str:
    return "\n\n".join(_told(classes_in(Feature), page=page))


def _splits(_: str, page: str) -> str:
    return "\n\n".join(_told(classes_in(Split), page=page))


def _expectations(_: str, page: str) -> str:
    return "\n\n".join(_told((Expectations,), page=page))


def _networks(_: str, page: str) -> str:
    """A line for each network, then the settings of each and of the parts that they are made of."""
    lines = ["| `model.name` | what it is | predicts |", "|---|---|---|"]
    for cls in networks():
        about = (inspect.getdoc(sys.modules[cls.__module__]) or "").partition("\n")[0]
        target = "the next item" if task_of(cls) == "next_item" else "clicks"
        own = f"models/{_name(cls)}.md"
        told = f"{about} [Page]({_way(page, to=own)})" if (DOCS / own).exists() else about
        lines.append(f"| [`{_name(cls)}`](#{anchor(cls)}) | {told} | {target} |")
    return "\n\n".join(["\n".join(lines), *_told(networks(), page=page)])


def _api(module: str, _: str) -> str:
    """The public names of a module, for mkdocstrings."""
    return f"::: {module}"


MARKS: Mapping[str, Callable[[str, str], str]] = {
    "settings": _settings,
    "sections": _sections,
    "features": _features,
    "splits": _splits,
    "networks": _networks,
    "expectations": _expectations,
    "api": _api,
}
"""What stands in place of a line ``<!-- MARK: argument -->``, given the argument and the page."""
