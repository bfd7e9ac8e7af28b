"""Settings classes as Markdown: a table for each, with type, default and meaning, taken from the class itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ctrgate.config import expand

__all__ = [
    "Link",
    "anchor",
    "boxed",
    "classes_in",
    "default_of",
    "heading",
    "is_settings",
    "settings_of",
    "table",
    "tag_of",
    "words",
]

Link = Callable[[type], str]
"""Where the table of a settings class stands, seen from the page that is written."""

_PLAIN: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", date: "date"}
_PLAIN |= {datetime: "datetime", Any: "value"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def is_settings(annotation: object) -> bool:
    """Whether a type is a settings class."""
    return isinstance(annotation, type) and hasattr(annotation, "__pydantic_fields__")


def settings_of(cls: type) -> dict[str, FieldInfo]:
    """A class's settings by name, without the constant (``name``, ``kind``, ``by``) that tells it in a choice."""
    fields: dict[str, FieldInfo] = cls.__pydantic_fields__  # type: ignore[attr-defined]
    tag = tag_of(cls)
    return {name: known for name, known in fields.items() if tag is None or name != tag[0]}


def tag_of(cls: type) -> tuple[str, str] | None:
    """The constant that tells a class in a choice, as ``("kind", "vocabulary")``; None where it has none."""
    for name, known in cls.__pydantic_fields__.items():  # type: ignore[attr-defined]
        values = get_args(known.annotation)
        if get_origin(known.annotation) is Literal and len(values) == 1 and known.default == values[0]:
            return name, str(values[0])
    return None


def classes_in(annotation: object) -> Iterator[type]:
    """The settings classes that a type names, in its order: itself, the choices of a union, the items of a list."""
    if is_settings(annotation):
        yield typing.cast("type", annotation)
    for part in () if get_origin(annotation) is Literal else get_args(annotation):
        yield from classes_in(part)


def anchor(cls: type) -> str:
    """The id of a class's heading: its name."""
    return cls.__name__


def heading(cls: type, *, path: str) -> str:
    """What stands above a class's table: the setting that holds it, and the constant that chooses it."""
    tag = tag_of(cls)
    return ": ".join(f"`{part}`" for part in (path, tag[1] if tag else "") if part) or "The file"


def table(cls: type, *, link: Link) -> str:
    """A line for each setting: name, meaning, type, default; a sentence where there is none."""
    known = settings_of(cls)
    if not known:
        return "No settings."
    lines = ["| setting | meaning | type | default |", "|---|---|---|---|"]
    for name, setting in known.items():
        kind = words(setting.annotation, setting.metadata, link=link)
        cells = (f"`{name}`", about(setting.description), kind, default_of(setting))
        lines.append(f"| {' | '.join(cells)} |")
    return boxed(lines)


def boxed(lines: Sequence[str]) -> str:
    """A table whose second column says what the first means, so that the site gives it room."""
    return "\n".join(['<div class="settings" markdown>', "", *lines, "", "</div>"])


def about(text: str | None) -> str:
    """A docstring on one line, with Markdown's single backticks. Bars stand in code alone, where they part no cells."""
    return " ".join(inspect.cleandoc(text or "").replace("``", "`").split())


def words(annotation: Any, constraints: Any = (), *, link: Link) -> str:
    """A type in the words of a run file."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [one for part in parts[1:] for one in (part.metadata if isinstance(part, FieldInfo) else (part,))]
        return words(parts[0], [*inner, *constraints], link=link)
    if origin is Literal:
        return " or ".join(f"`{_value(value)}`" for value in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(part, link=link) for part in parts)
    if annotation is type(None):
        return "`null`"
    if origin is tuple:
        return f"list of {words(parts[0], link=link)}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {words(parts[0], link=link)} to {words(parts[1], link=link)}"
    if is_settings(annotation):
        tag = tag_of(annotation)
        return f"[{tag[1] if tag else 'section'}]({link(annotation)})"
    if any(isinstance(part, AfterValidator) and part.func is expand for part in constraints):
        return "path"
    return f"{_PLAIN[annotation]} {_bounds(constraints)}".rstrip()


def _bounds(constraints: Any) -> str:
    """``≥ 0, < 1``."""
    found = [(name, getattr(part, name, None)) for part in constraints for name in _BOUNDS]
    return ", ".join(f"{_BOUNDS[name]} {_value(limit)}" for name, limit in found if limit is not None)


def default_of(setting: FieldInfo) -> str:
    """What a setting is where a run file does not say it, in Markdown."""
    if setting.default is not PydanticUndefined:
        return f"`{_value(setting.default)}`"
    if setting.default_factory is None:
        return "required"
    return f"`{_value(setting.default_factory())}`"  # type: ignore[call-arg]  # none of ours looks at other settings


def _value(value: Any) -> str:
    """A value as it would stand in a run file, settings with their own defaults left out."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w./:-]+", value) else f'"{value}"'
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _value(_differing(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(part)}" for name, part in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _differing(value: Any) -> dict[str, Any]:
    """The settings of an object that are not at their class's defaults, and the constant that tells its class."""
    tag = tag_of(type(value))
    kept = dict([tag] if tag else [])
    for name, known in settings_of(type(value)).items():
        own = getattr(value, name)
        default = known.default if known.default_factory is None else known.default_factory()  # type: ignore[call-arg]
        if own != default:
            kept[name] = own
    return kept
