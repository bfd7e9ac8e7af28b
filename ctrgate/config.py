"""Run files: ``@settings`` for typed sections, ``load`` to read one file for one verb; knows no settings class."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic
import yaml
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ctrgate.errors import ConfigError

__all__ = ["SECTIONS", "Place", "dump", "faults_of", "load", "load_file", "read", "settings", "to_yaml"]

# Every top-level name a run file may have; a verb types those it reads and leaves the others unread.
SECTIONS = (
    "name",
    "seed",
    "runs",
    "dataset",
    "prepare",
    "schema",
    "tables",
    "model",
    "objective",
    "train",
    "evaluate",
    "report",
    "export",
    "histories",
    "score",
    "tracking",
    "cluster",
    "tune",
    "validate",
    "compare",
    "promote",
    "select",
    "widths",
    "daily",
    "reproduce",
)

T = TypeVar("T")
_MODE = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field, dataclasses.field))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen, typed section of a run file; an unknown name is an error, never ignored."""
    result = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=_MODE)
    for name, known in result.__pydantic_fields__.items():
        # pydantic reads docstrings of a class's own settings only: leave them where a class built on this finds them.
        declared = result.__dataclass_fields__[name]
        if known.description and not isinstance(declared.default, FieldInfo):
            declared.metadata = MappingProxyType({**declared.metadata, "description": known.description})
    return cast("type[T]", result)


def expand(place: str) -> str:
    """Replace ``${NAME}`` and ``${NAME:-default}`` by the environment's value, and a leading ``~``."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        found = os.environ.get(name, default)
        if found is None:
            raise ValueError(f"the environment variable {name} is not set; export it or write ${{{name}:-a default}}")
        return found

    return os.path.expanduser(re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", value, place))


Place = Annotated[str, AfterValidator(expand)]
"""A path or URI; ``${NAME:-default}`` takes an environment variable. Relative paths start at the working folder."""


def load(path: str | Path, into: type[T], overrides: Sequence[str] = ()) -> T:
    """Read the sections of a run file that ``into`` declares, with ``section.key=value`` overrides applied.

    A section whose value names a ``.yaml`` file is read from that file, relative to the run file. A run's folder stands
    for its ``config.yaml``.

    Raises:
        ConfigError: With every fault of the file at once, each with its path and, for a misspelt name, a suggestion.
    """
    path = Path(path)
    path = path / "config.yaml" if path.is_dir() else path
    raw = read(path)
    faults = [_unknown(name, SECTIONS) for name in raw if name not in SECTIONS]
    for override in overrides:
        faults += _apply(override, raw, folder=path.parent)
    wanted = [field.name for field in dataclasses.fields(into)]  # type: ignore[arg-type]
    taken = {name: _section(raw[name], path.parent) for name in wanted if name in raw}
    adapter = TypeAdapter(into)
    try:
        result = adapter.validate_python(taken)
    except ValidationError as error:
        faults += _faults(error, into)
    if faults:
        raise ConfigError(f"{path} is not a valid run:\n" + "\n".join(f"  {fault}" for fault in faults))
    return result


def load_file(path: str | Path, into: type[T], *, what: str) -> T:
    """Read a YAML file that is no run file, whole, as one settings class.

    Args:
        path: The file.
        into: The class.
        what: What the file is, for messages.

    Raises:
        ConfigError: With every fault of the file at once.
    """
    adapter = TypeAdapter(into)
    try:
        return adapter.validate_python(read(Path(path), of="settings"))
    except ValidationError as error:
        faults = _faults(error, into)
    raise ConfigError(f"{path} is not {what}:\n" + "\n".join(f"  {fault}" for fault in faults))


def faults_of(values: Mapping[str, Any], into: type) -> list[str]:
    """What keeps plain values from being settings of a class, a line each; none where they are."""
    adapter: TypeAdapter[Any] = TypeAdapter(into)
    try:
        adapter.validate_python(values)
    except ValidationError as error:
        return _faults(error, into)
    return []


def dump(config: object) -> dict[str, Any]:
    """A settings object as plain values, ready for YAML or JSON."""
    result: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return result


def to_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML, in the order given."""
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)
    return text


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML without its surprises: ``no`` is a word, ``1e-3`` a number, and a key given twice an error."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tfTF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.\d*|\.\d+|\d[\d_]*(?=[eE]))(?:[eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in result:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(path: Path, *, of: str = "sections such as dataset, model, train") -> dict[str, Any]:
    """A YAML file as plain values, as it was written.

    Raises:
        ConfigError: Where it cannot be read, is no YAML or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        raw = yaml.load(text, Loader=_Loader)  # a SafeLoader: builds plain values only
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must be a mapping of {of}; it holds {raw!r}")
    return raw


def _section(value: Any, folder: Path) -> Any:
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return read(folder / value)
    return value


def _apply(override: str, raw: dict[str, Any], *, folder: Path) -> list[str]:
    name, equals, text = override.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        return [f"{override}: an override is written section.key=value"]
    if keys[0] not in SECTIONS:
        return [_unknown(keys[0], SECTIONS)]
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return [f"{name}: {text!r} is not valid YAML"]
    place = raw
    for depth, key in enumerate(keys[:-1]):
        # Only a section may lie in a file of its own; below it a text that ends in .yaml is a text.
        inner = _section(place.get(key), folder) if depth == 0 else place.get(key)
        if inner is not None and not isinstance(inner, dict):
            held = "a list; give it whole, or change the file" if isinstance(inner, list) else "a value, not a section"
            return [f"{name}: {'.'.join(keys[: depth + 1])} is {held}"]
        place[key] = dict(inner or {})
        place = place[key]
    place[keys[-1]] = value
    return []


def _unknown(name: object, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"{name}: no such section; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")


def _faults(error: ValidationError, into: type) -> list[str]:
    return [_fault(dict(item), _schema_of(into)) for item in error.errors(include_url=False)]


@functools.lru_cache(maxsize=16)
def _schema_of(into: type) -> dict[str, Any]:
    """The JSON schema of a class, which takes long enough (50 ms) that a search is to make it once."""
    return TypeAdapter(into).json_schema()


def _fault(error: dict[str, Any], schema: dict[str, Any]) -> str:
    """One line for one pydantic error, with its path and the nearest known name."""
    path, known, node = _located(schema, error["loc"])
    place = ".".join(path) or "the run"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"{place}: no such setting; {hint}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        needed = ", ".join(f"{place}.{name}" for name in node.get("required", []))
        return f"{place}: is required" + (f"; give {needed}" if needed else "")
    if error["type"] == "union_tag_invalid":
        tags, got = error["ctx"]["expected_tags"], str(error["ctx"]["tag"])
        plain = {tag.replace("_", ""): tag for tag in re.findall(r"'([^']+)'", tags)}
        close = difflib.get_close_matches(got.replace("_", "").lower(), plain, n=1)
        return f"{place}: {got!r} is none of {tags}" + (f"; did you mean {plain[close[0]]}?" if close else "")
    if error["type"] == "union_tag_not_found":
        tag = error["ctx"]["discriminator"].strip("'")
        return f"{place}.{tag}: is required" + f"; it is one of {', '.join(node['discriminator']['mapping'])}"
    if error["type"] in ("tuple_type", "list_type"):
        return f"{place}: must be a list, as in [a, b], got {_short(error.get('input'))}"
    if error["type"] in ("dict_type", "mapping_type"):
        return f"{place}: must be a section of names and values, got {_short(error.get('input'))}"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if error["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message[0].lower()}{message[1:]}, got {_short(error.get('input'))}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _located(schema: dict[str, Any], loc: Sequence[int | str]) -> tuple[list[str], list[str], dict[str, Any]]:
    """The place of a validation error as a run file has it, names known beside its last part, and that part's schema.

    pydantic puts the tag of the option into its place wherever a union stands, between two names of the run file. The
    schema is followed part by part, since a setting or a key may be called as a tag is.
    """
    definitions = schema.get("$defs", {})

    def resolved(node: Any) -> dict[str, Any]:
        """What a node stands for: behind references, and without null beside a single option."""
        while isinstance(node, dict):
            options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
            if "$ref" in node:
                node = definitions.get(node["$ref"].rsplit("/", 1)[-1])
            elif len(options) == 1:
                node = options[0]
            else:
                return node
        return {}

    path: list[str] = []
    node, known = resolved(schema), list[str]()
    for part in loc:
        tagged = node.get("discriminator", {}).get("mapping", {})
        if part in tagged:
            node = resolved({"$ref": tagged[part]})
        elif "anyOf" in node:  # options without a tag are named by their type; nothing is set within them
            node = {}
        else:
            path.append(str(part))
            known = list(node.get("properties", {}))
            node = resolved(_within(node, part))
    return path, known, node


def _within(node: Mapping[str, Any], part: int | str) -> Any:
    """What a JSON schema says of an entry of a list, a setting of a section, or a key's value."""
    if isinstance(part, int):
        first = node.get("prefixItems", [])
        return first[part] if part < len(first) else node.get("items")
    return node.get("properties", {}).get(part) or node.get("additionalProperties")
