"""The site, built in an environment of its own: whole, drawn without scripts from elsewhere, asking for no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.site.generated import DOCS
from docs.site.pages import ROOT, compose

LOCK = DOCS / "site" / "requirements.lock"
PAGE = """# Formulas

A factor $2\\sigma(w_1)$ of $5.

$$
y = \\sum_f x_f
$$
"""


class Loads(HTMLParser):
    """What a page has its browser load, and whether a link is for people alone."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        loaded = tag == "link" and of.get("rel") not in ("canonical", "next", "prev")
        self.found += [of[key] or "" for key in ("src", "srcset", "poster", "data") if key in of]
        self.found += [of["href"] or ""] if loaded and "href" in of else []


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of the documents' environment: the one of ``make docs`` where it is there, else a new one."""
    if (ROOT / ".venv-docs" / ".ready").exists():
        return ROOT / ".venv-docs" / "bin" / "python"
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", LOCK], capture_output=True, text=True
    )
    if "Could not find a version" in pip.stderr:
        pytest.skip(f"no package index here has what {LOCK} names: {pip.stderr.strip().splitlines()[-1]}")
    assert pip.returncode == 0, pip.stderr[-3000:]
    return python


def build(python: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Build what ``compose`` has put together, strictly."""
    command = [python, "-m", "zensical", "build", "--strict", "--config-file", place / "mkdocs.yml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(builder: Path, tmp_path: Path) -> None:
    compose(tmp_path)
    (tmp_path / "pages" / "formulas.md").write_text(PAGE)
    built = build(builder, tmp_path)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for path in pages:
        loads = Loads()
        loads.feed(path.read_text())
        assert loads.found, path
        outside = [place for place in loads.found if re.match(r"[a-z+]+:|//", place) and not place.startswith("data:")]
        assert outside == [], path
    for path in (tmp_path / "site").rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", path.read_text()) == [], path
    text = (tmp_path / "site" / "formulas.html").read_text()
    assert len(re.findall("<math ", text)) == 2
    assert "of $5." in text


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[away](nowhere.md)", "[away](index.md#nowhere)"])
def test_a_dead_link_or_anchor_fails_the_build(builder: Path, tmp_path: Path, link: str) -> None:
    compose(tmp_path)
    with (tmp_path / "pages" / "index.md").open("a") as file:
        file.write(f"\n{link}\n")
    assert build(builder, tmp_path).returncode != 0
