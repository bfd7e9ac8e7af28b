"""Every code block of the pages says how it is proven, and what is not run names only what there is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml

from ctrgate.cli import VERBS
from ctrgate.config import faults_of
from docs.site.blocks import Block, blocks_of, commands
from docs.site.generated import DOCS
from docs.site.pages import ROOT
from docs.site.sections import sections
from docs.site.settings import classes_in

PAGES = sorted([*ROOT.glob("*.md"), ROOT / "serving/README.md", *DOCS.rglob("*.md")])
NOT_OURS = {"pip", "mlflow", "source", "git", "ray", "systemctl", "kubectl", "docker", "export", "cd"}
"""Programs of which only files are looked at; after ``--`` of Ray's comes a command of ours."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def faults(block: Block) -> Iterator[str]:
    """What is wrong with a block as far as that can be told without running it."""
    if block.language == "text":
        yield from ["a block of text has no mark"] if block.mark else []
    elif block.language == "mermaid":
        yield "would be drawn by a script from elsewhere; draw it in text, or as a figure"
    elif not block.language:
        yield "has no language; text is for what is no code"
    elif block.reason is not None:
        yield from [] if len(block.reason) > 5 else ["not-run: needs its reason"]
        named = re.findall(r"tests/[\w/.]+", block.reason)
        yield from (f"the reason's {place} does not exist" for place in named if not (ROOT / place).exists())
        yield from of_unrun(block)
    elif block.mark == "part":
        yield from of_part(block) if block.language == "yaml" else ["only yaml may be a part of a run file"]
    elif block.file is None and block.mark != "example":
        yield f"{block.mark!r} is no mark; docs/site/blocks.py has them"


def of_unrun(block: Block) -> Iterator[str]:
    if block.language == "sh":
        for words in commands(block.text):
            yield from of_command(words)
    elif block.language == "python":
        yield from of_imports(ast.parse(block.text))
    else:
        yaml.safe_load(block.text)


def of_command(words: Sequence[str]) -> Iterator[str]:
    """Whether a command's verb, module, target, files and settings exist."""
    program, *rest = words
    if "--" in rest:
        yield from of_command(rest[rest.index("--") + 1 :])
    elif program == "ctrgate" and rest:
        yield from [] if rest[0] in (*VERBS, "VERB") else [f"ctrgate {rest[0]}: no such verb"]
        yield from of_run_file(rest[1:])
    elif program == "python" and rest[:1] == ["-m"]:
        yield from of_module(rest[1], rest[2:])
    elif program == "python":
        yield from [] if (ROOT / rest[0]).exists() else [f"{rest[0]} does not exist"]
    elif program == "make":
        targets = [word for word in rest if "=" not in word]
        makefile = (ROOT / "Makefile").read_text()
        yield from (f"make {target}: no such target" for target in targets if f"\n{target}:" not in makefile)
    elif program in NOT_OURS:
        ours = [word for word in rest if re.match(r"(?:pipelines|serving|configs)/[\w/-]+\.", word)]
        yield from (f"{word} does not exist" for word in ours if not (ROOT / word).exists())
    else:
        yield f"{program}: a program that the documents have not named before"


def of_module(name: str, arguments: Sequence[str]) -> Iterator[str]:
    if importlib.util.find_spec(name) is None:
        yield f"python -m {name}: no such module"
        return
    place = ROOT / name.replace(".", "/")
    files = [place.with_suffix(".py")] if place.with_suffix(".py").exists() else sorted(place.glob("*.py"))
    source = "".join(path.read_text() for path in files)
    if source:
        options = [word.partition("=")[0] for word in arguments if word.startswith("--") and word != "--help"]
        yield from (f"python -m {name} {option}: no such option" for option in options if f'"{option}"' not in source)
        yield from of_run_file([word for word in arguments if not word.startswith("--")])


def of_run_file(arguments: Sequence[str]) -> Iterator[str]:
    """Run files of the repository must be there, and overrides must name settings."""
    for word in arguments:
        key, equals, _ = word.partition("=")
        if equals and not has_setting(key.split(".")):
            yield f"{key}: no such setting"
        if word.startswith("configs/") and word.endswith(".yaml") and not word.startswith("configs/clicks"):
            yield from [] if (ROOT / word).exists() else [f"{word} does not exist"]


def has_setting(path: Sequence[str]) -> bool:
    """Whether some section has a setting at a path; below a mapping any name is one."""
    held: list[Any] = [section.annotation for section in sections() if section.name == path[0]]
    for key in path[1:]:
        if any(isinstance(get_origin(part), type) and issubclass(get_origin(part), Mapping) for part in held):
            return True
        classes = [cls for annotation in held for cls in classes_in(annotation)]
        held = [cls.__pydantic_fields__[key].annotation for cls in classes if key in cls.__pydantic_fields__]  # type: ignore[attr-defined]
    return bool(held)


def of_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            yield from (f"{node.module} has no {one.name}" for one in node.names if not hasattr(module, one.name))


def of_part(block: Block) -> Iterator[str]:
    """Sections of a run file: each must be valid; of the dataset, with what the quick start says of the rest."""
    given = yaml.safe_load(block.text)
    known = {section.name: section for section in sections()}
    for name, value in given.items():
        if name not in known:
            yield f"{name}: no such section"
            continue
        whole = {**clicks()["dataset"], **value} if name == "dataset" else value
        yield from (f"{name}: {fault}" for fault in faults_of(whole, known[name].annotation))


def clicks() -> dict[str, Any]:
    """The README's run file."""
    (text,) = (block.text for block in blocks_of((ROOT / "README.md").read_text()) if block.mark == "clicks.yaml")
    result: dict[str, Any] = yaml.safe_load(text)
    return result


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_block_says_how_it_is_proven_and_names_what_there_is(path: Path) -> None:
    found = [(block, fault) for block in blocks_of(path.read_text()) for fault in faults(block)]
    assert [f"{named(path)}:{block.line}: {fault}" for block, fault in found] == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_command_in_a_sentence_names_what_there_is(path: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`((?:python -m|ctrgate|make) [^`]+)`", prose.replace("\n", " "))
    assert [fault for span in spans for words in commands(span) for fault in of_command(words)] == []


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("```\nx\n```", "has no language; text is for what is no code"),
        ("```mermaid\na --> b\n```", "would be drawn by a script from elsewhere; draw it in text, or as a figure"),
        ("```sh\nctrgate train a.yaml\n```", "'' is no mark; docs/site/blocks.py has them"),
        ("```sh not-run:\nctrgate train a.yaml\n```", "not-run: needs its reason"),
        ("```sh not-run: tests/none.py has it\nmake test\n```", "the reason's tests/none.py does not exist"),
        ("```sh not-run: takes hours\nctrgate trian a.yaml\n```", "ctrgate trian: no such verb"),
        ("```sh not-run: takes hours\nctrgate train a.yaml train.epoch=3\n```", "train.epoch: no such setting"),
        ("```sh not-run: takes hours\npython -m benchmarks.scans\n```", "python -m benchmarks.scans: no such module"),
        ("```sh not-run: an hour\npython -m benchmarks.scan --y\n```", "python -m benchmarks.scan --y: no such option"),
        ("```sh not-run: a cluster\nkubectl apply -f serving/a.yaml\n```", "serving/a.yaml does not exist"),
        ("```sh not-run: takes hours\nmake tests\n```", "make tests: no such target"),
        ("```sh not-run: takes hours\nctrgate train configs/none.yaml\n```", "configs/none.yaml does not exist"),
        ("```sh not-run: a cluster\nray job submit -- ctrgate train a.yaml a.b=8\n```", "a.b: no such setting"),
        ("```python not-run: needs a server\nfrom ctrgate.cli import mian\n```", "ctrgate.cli has no mian"),
        ("```yaml part\ntrain: {epoch: 3}\n```", "train: epoch: no such setting; did you mean epochs?"),
        ("```yaml part\ntrian: {epochs: 3}\n```", "trian: no such section"),
    ],
)  # fmt: skip
def test_a_block_that_is_wrong_is_found(block: str, fault: str) -> None:
    (one,) = blocks_of(block + "\n")
    assert list(faults(one)) == [fault]


def test_settings_are_found_along_their_path() -> None:
    assert has_setting(["model", "mlp1", "dropout"])
    assert has_setting(["tables", "dims", "user"])
    assert has_setting(["tune", "space", "train.learning_rate"])
    assert not has_setting(["model", "mlp1", "dropouts"])
