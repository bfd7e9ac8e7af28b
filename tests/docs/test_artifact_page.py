"""docs/artifact.md names every file, key and column of the format, and quotes messages that there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctrgate.artifact.compiled import compile_network
from ctrgate.artifact.manifest import FORMAT_VERSION, Manifest, Origin, PartFile, TableSize
from ctrgate.artifact.parity import Parity
from ctrgate.features.vocabulary import Vocabulary
from docs.site.generated import DOCS
from docs.site.pages import ROOT
from docs.site.settings import settings_of

PAGE = (DOCS / "artifact.md").read_text()


@pytest.mark.parametrize("cls", [Manifest, Origin, PartFile, TableSize, Parity])
def test_every_key_of_the_manifest_is_told(cls: type) -> None:
    assert [name for name in settings_of(cls) if f"`{name}`" not in PAGE] == []
    assert f"`format_version` is {FORMAT_VERSION};" in PAGE


def test_every_file_of_an_artifact_is_in_the_tree(trained_run: Callable[[str], Any]) -> None:
    folder: Path = trained_run("dense").artifact
    names = {re.sub(r"\d{3}", "000", path.name) for path in folder.rglob("*") if path.is_file()}
    tree = PAGE.split("```")[1]
    assert [name for name in names if name not in tree] == []
    assert len(names) >= 8
    assert compile_network.__module__.split(".")[-1] in tree


def test_every_column_of_a_vocabulary_is_told() -> None:
    assert [name for name in Vocabulary.SCHEMA.names() if f"| `{name}` |" not in PAGE] == []


def test_messages_are_quoted_as_they_are() -> None:
    code = " ".join(path.read_text() for path in (ROOT / "ctrgate" / "artifact").glob("*.py"))
    joined = re.sub(r'"\s+f?"', "", code)
    table = PAGE.partition("| message | what to do |")[2]
    quoted = [part.strip() for message in re.findall(r"^\| ([^|-][^|]+) \|", table, flags=re.MULTILINE)
              for part in re.split(r"[…;]|, ", message)]  # fmt: skip
    assert [part for part in quoted if part and part not in joined] == []
    assert len(quoted) > 8
