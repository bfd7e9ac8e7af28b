"""Code blocks of the pages. The word after a fence's language says how the tests prove the block:

- ``example``: run, in the order of the page, in a folder that has the quick start's table, run files and runs;
- a file's name (``clicks.yaml``): written to that folder before what follows is run;
- ``part``: sections of a run file, checked against the settings that there are, and put into ``clicks.yaml`` there;
- ``not-run: REASON``: not run; its verbs, modules, settings and names are looked up.

Blocks of ``text`` (diagrams, output) are no code and have none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Block", "blocks_of", "commands", "without_marks"]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*) ?(?P<mark>.*)\n(?P<text>(?:.*\n)*?)(?P=indent)```$", flags=re.MULTILINE
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of a page.

    Args:
        line: Of its fence, from 1.
        language: ``sh``, ``yaml``, ``python`` …; empty where none is told.
        mark: What stands after the language.
        text: What is between the fences, without their indentation.
    """

    line: int
    language: str
    mark: str
    text: str

    @property
    def reason(self) -> str | None:
        """Why it is not run; None where it is."""
        marked, _, reason = self.mark.partition("not-run:")
        return reason.strip() if not marked and self.mark else None

    @property
    def file(self) -> str | None:
        """The file that it is written to; None where it is none."""
        return self.mark if re.fullmatch(r"[\w./-]+\.\w+", self.mark) else None


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of a page in their order."""
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        inner = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Block(line=line, language=found["language"], mark=found["mark"].strip(), text=inner)


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block as words, comments left out and continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def without_marks(text: str) -> str:
    """A page as the site has it: fences with their language alone."""
    return re.sub(r"^( *```[\w-]+) .*$", r"\1", text, flags=re.MULTILINE)
