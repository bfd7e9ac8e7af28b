r"""A Markdown extension: ``$a$`` and ``$$a$$`` become MathML, which browsers draw without any script."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor


class Formulas(Extension):
    """Formulas in a line, ``$...$`` without a space at either end, and by themselves: a paragraph ``$$...$$``."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - its name in Markdown
        md.inlinePatterns.register(_Inline(r"(?<![\\$\w])\$(?![\s$])([^$\n]+?)(?<!\s)\$(?![\w$])", md), "formula", 185)
        md.parser.blockprocessors.register(_Block(md.parser), "formulas", 75)


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: ARG002, N802
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class _Block(BlockProcessor):
    def test(self, parent: Element, block: str) -> bool:  # noqa: ARG002
        text = block.strip()
        return len(text) > 4 and text.startswith("$$") and text.endswith("$$")

    def run(self, parent: Element, blocks: list[str]) -> None:
        formula = convert(blocks.pop(0).strip()[2:-2].strip(), display="block")
        place = SubElement(parent, "div", {"class": "formula"})
        place.text = self.parser.md.htmlStash.store(formula)


def makeExtension() -> Formulas:  # noqa: N802 - its name in Markdown
    """What Markdown calls."""
    return Formulas()
