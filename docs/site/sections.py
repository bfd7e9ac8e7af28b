"""The sections of a run file: which settings class types each, which verbs read it, on which page it is told."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo

from ctrgate.cli import VERBS
from ctrgate.config import SECTIONS, settings
from ctrgate.features.dataset import Split
from ctrgate.features.kinds.registry import Feature
from ctrgate.models.registry import ModelConfig
from ctrgate.validation.expectations import Expectations
from docs.site.settings import about, classes_in, default_of, settings_of
from pipelines.daily.settings import DailySettings

__all__ = ["Section", "homes", "nested", "networks", "sections"]

RUN_FILE, FEATURES = "reference/run_file.md", "reference/features.md"
SPLITS, NETWORKS = "reference/splits.md", "reference/networks.md"
EXPECTATIONS = "reference/expectations.md"
DAILY = "pipelines.daily"


@dataclass(frozen=True)
class Section:
    """One top-level name of a run file.

    Args:
        name: The name.
        annotation: Its type; None for a name that no verb reads.
        default: What it is where it is not given, in Markdown.
        about: What it is for.
        readers: The verbs that read it.
    """

    name: str
    annotation: Any
    default: str
    about: str
    readers: tuple[str, ...]

    @property
    def page(self) -> str:
        """Where its settings stand."""
        if self.name == "model":
            return NETWORKS
        return f"reference/sections/{self.name}.md" if self.classes else RUN_FILE

    @property
    def classes(self) -> tuple[type, ...]:
        """The settings classes that may type it; none for a name, a number or a path."""
        return tuple(classes_in(self.annotation))


@cache
def sections() -> tuple[Section, ...]:
    """Every section that a run file may have, in the order of ``ctrgate.config.SECTIONS``."""
    return tuple(map(_section, SECTIONS))


def networks() -> tuple[type, ...]:
    """The settings class of every network, in the order of the registry."""
    return tuple(classes_in(ModelConfig))


def nested(classes: Iterable[type], *, known: set[type], path: str = "") -> Iterator[tuple[str, type]]:
    """Classes with their path, each followed by those that its settings hold, each once.

    Args:
        classes: Where to begin.
        known: Those that are told elsewhere or were met; what is met is added.
        path: Of the classes to begin with.
    """
    for cls in classes:
        if cls in known:
            continue
        known.add(cls)
        yield path, cls
        for name, setting in settings_of(cls).items():
            inner = f"{path}.{name}" if path else name
            yield from nested(classes_in(setting.annotation), known=known, path=inner)


@cache
def homes() -> dict[type, str]:
    """The page on which each settings class has its table; kinds of features, splits and networks have their own."""
    result: dict[type, str] = {}
    known: set[type] = set()
    pages: list[tuple[str, Iterable[type]]] = [
        (FEATURES, classes_in(Feature)),
        (SPLITS, classes_in(Split)),
        (NETWORKS, networks()),
        (EXPECTATIONS, (Expectations,)),
        *((section.page, section.classes) for section in sections()),
    ]
    for page, classes in pages:
        result |= {cls: page for _, cls in nested(classes, known=known)}
    return result


def _section(name: str) -> Section:
    found = [(reader, known[name]) for reader, known in _read() if name in known]
    if not found:
        return Section(name, None, default="", about="Known, and read by no verb.", readers=())
    first = found[0][1]
    readers = tuple(sorted((reader for reader, _ in found), key=[*VERBS, DAILY].index))
    return Section(name, first.annotation, default=default_of(first), about=about(first.description), readers=readers)


def _read() -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """What each reader of run files types; ``train`` comes first, whose words are the most general."""
    for verb in sorted(VERBS, key=lambda verb: verb != "train"):
        module = importlib.import_module(f"ctrgate.{verb}")
        if hasattr(module, "Config"):
            yield verb, settings_of(module.Config)
    yield DAILY, settings_of(_Daily)


@settings
class _Daily:
    daily: DailySettings
    """Which files belong to which day, what a day learns from, and what is kept."""
