"""The command line: ``ctrgate VERB RUN.yaml [section.key=value ...]``; a verb is the module of its name."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from pydantic import TypeAdapter

import ctrgate
from ctrgate.config import load
from ctrgate.errors import ConfigError, CtrgateError
from ctrgate.waiting import wait_briefly

__all__ = ["ALIASES", "VERBS", "main"]

VERBS = (
    "schema",
    "validate",
    "prepare",
    "train",
    "tune",
    "evaluate",
    "widths",
    "report",
    "compare",
    "export",
    "promote",
    "rollback",
    "reproduce",
    "histories",
    "score",
    "sync",
    "doctor",
)
ALIASES = {"predict": "score"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and give the exit code: 0, 2 (the user's input), 3 (held back by a check) or 1 (a fault of ours).

    Ctrl-C gives 130 and SIGTERM 143, once half-written files are removed.
    """
    parsed = _parser().parse_args(arguments)
    wait_briefly()
    verb = ALIASES.get(parsed.verb, parsed.verb)
    try:
        with _terminating(), _nothing_else_on_stdout():
            module = importlib.import_module(f"ctrgate.{verb}")
            result = None if parsed.help else _run(module, run_file=parsed.run_file, overrides=parsed.overrides)
        _say(_help(verb, module) if result is None else json.dumps(_plain(result), allow_nan=False))
    except CtrgateError as error:
        print(f"ctrgate {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"ctrgate {verb}: interrupted", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001 - the last resort: say that it is our fault, whatever it is
        traceback.print_exc()
        print(f"ctrgate {verb}: this is a fault of ctrgate, not of your input; please report it", file=sys.stderr)
        return 1
    return 0


def _run(module: ModuleType, *, run_file: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Call a verb; one without a ``Config`` takes no run file."""
    result: dict[str, Any]
    if not hasattr(module, "Config"):
        if run_file:
            raise ConfigError("takes no run file")
        result = module.run()
    elif run_file is None:
        raise ConfigError(f"needs a run file: {module.__name__.replace('.', ' ')} RUN.yaml [section.key=value ...]")
    else:
        result = module.run(load(run_file, module.Config, overrides))
    return result


def _parser() -> argparse.ArgumentParser:
    width = max(len(verb) for verb in VERBS)
    lines = [f"  {verb:<{width}}  {_summary(verb)}" for verb in VERBS]
    lines += [f"  {alias:<{width}}  The same as {verb}." for alias, verb in ALIASES.items()]
    parser = argparse.ArgumentParser(
        prog="ctrgate",
        usage="ctrgate VERB RUN.yaml [section.key=value ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="verbs:\n" + "\n".join(lines) + "\n\nctrgate VERB --help shows the settings that a verb reads.",
    )
    parser.add_argument("--version", action="version", version=f"ctrgate {ctrgate.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", help=argparse.SUPPRESS)
    for verb in (*VERBS, *ALIASES):
        one = verbs.add_parser(verb, add_help=False)
        one.add_argument("-h", "--help", action="store_true")
        one.add_argument("run_file", nargs="?", metavar="RUN.yaml")
        one.add_argument("overrides", nargs="*", metavar="section.key=value")
    return parser


def _summary(verb: str) -> str:
    """The first line of a verb's docstring, read without importing the verb."""
    source = Path(__file__).with_name(f"{verb}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _help(verb: str, module: ModuleType) -> str:
    """What a verb does and the settings of the sections it reads, with their defaults."""
    lines = [f"ctrgate {verb}: {_summary(verb)}", ""]
    if not hasattr(module, "Config"):
        return "\n".join([*lines, f"usage: ctrgate {verb}"])
    schema = TypeAdapter(module.Config).json_schema()
    lines += [f"usage: ctrgate {verb} RUN.yaml [section.key=value ...]", "", "sections of RUN.yaml that it reads:"]
    lines += _describe(schema, schema.get("$defs", {}), depth=1)
    return "\n".join(lines)


def _describe(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, depth: int) -> list[str]:
    """One line per setting, and below it those of the sections inside; a choice of sections is told by its tag."""
    lines = []
    for name, setting in schema.get("properties", {}).items():
        if "const" in setting:
            continue
        default = "" if setting.get("default") in (None, "", [], {}) else f" [{json.dumps(setting['default'])}]"
        required = " (required)" if name in schema.get("required", ()) else ""
        about = " ".join(str(setting.get("description", "")).split())
        lines.append(f"{'  ' * depth}{name}{required}{default if len(default) < 60 else ''}  {about}".rstrip())
        for inner in _inner(setting, definitions):
            tags = [f"{key}: {tag['const']}" for key, tag in inner.get("properties", {}).items() if "const" in tag]
            lines += [f"{'  ' * (depth + 1)}- {tag}" for tag in tags]
            lines += _describe(inner, definitions, depth=depth + 1 + bool(tags))
    return lines


def _inner(setting: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sections that a setting holds: itself, the items of a list, or each choice of a union."""
    if "$ref" in setting:
        return [definitions[setting["$ref"].rsplit("/", 1)[-1]]]
    parts = [*setting.get("oneOf", ()), *setting.get("anyOf", ()), *setting.get("allOf", ())]
    parts += [setting[key] for key in ("items", "additionalProperties") if isinstance(setting.get(key), dict)]
    return [inner for part in parts for inner in _inner(part, definitions)]


def _plain(value: Any) -> Any:
    """The same as JSON can hold it: null for NaN and infinities, text for paths, numbers for arrays of one."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def _say(text: str) -> None:
    """Print to stdout; a reader that has gone away is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextlib.contextmanager
def _nothing_else_on_stdout() -> Iterator[None]:
    """Send what libraries print, in Python or below, to stderr, so that stdout holds one line of JSON."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 1)
        os.close(saved)


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that half-written files are removed; the exit code is 143."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
