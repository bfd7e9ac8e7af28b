"""Rules that hold for the whole tree: what is imported when, what is never used, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    [*(ROOT / "ctrgate").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py"), *(ROOT / "serving").rglob("*.py")]
)
HEAVY = ("torch", "torchrec", "fbgemm_gpu", "mlflow", "ray", "pandas", "matplotlib", "sklearn")


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh process has loaded after some code."""
    program = f"{code}\nimport sys\nprint('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.splitlines()[-1].split()) - {"loaded"}


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import ctrgate", set()),
        ("import ctrgate.cli\ntry: ctrgate.cli.main(['--help'])\nexcept SystemExit: pass", set()),
        ("import ctrgate.prepare", set()),
        ("import ctrgate.report", {"matplotlib"}),
        ("import ctrgate.schema", set()),
        ("import ctrgate.validate", {"matplotlib"}),
        ("import ctrgate.compare", {"matplotlib"}),
        ("import ctrgate.promote", set()),
        ("import ctrgate.rollback", set()),
        ("import ctrgate.doctor", set()),
        ("import ctrgate.tracking", set()),
        ("import ctrgate.sync", set()),
        ("import ctrgate.score", set()),
        ("import ctrgate.widths", set()),
        ("import ctrgate.export", set()),
        ("import ctrgate.reproduce", set()),
        ("import ctrgate.evaluate", {"matplotlib"}),
    ],
)
def test_a_verb_loads_only_what_it_needs(code: str, allowed: set[str]) -> None:
    assert loaded_by(code) <= allowed


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Every call in a file, by the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    banned = {"eval", "exec", "compile", "torch.load", "torch.save", "yaml.unsafe_load", "os.system", "np.load"}
    found = [f"{line}: {name}" for line, name in calls(path) if name in banned]
    assert found == []
    assert not {"pickle", "cloudpickle", "dill", "marshal", "shelve"} & set(imports(path))


@pytest.mark.parametrize(
    ("package", "home"), [("torchrec", "lookups"), ("fbgemm_gpu", "lookups"), ("mlflow", "tracking")]
)
def test_a_package_has_one_home(package: str, home: str) -> None:
    homes = [
        path.relative_to(ROOT / "ctrgate").parts[0]
        for path in SOURCES
        if path.is_relative_to(ROOT / "ctrgate") and any(name.split(".")[0] == package for name in imports(path))
    ]
    assert set(homes) == {home}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea_and_says_which(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_names_that_say_nothing_are_not_used() -> None:
    assert not {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "base", "manager", "misc"}


def test_serving_pins_what_the_lock_pins() -> None:
    def pins(path: Path) -> set[str]:
        return {
            line.strip().lower() for line in path.read_text().splitlines() if "==" in line and not line.startswith("#")
        }

    assert pins(ROOT / "serving" / "requirements.txt") - pins(ROOT / "requirements.lock") == {"torch==2.13.0"}
    assert "torch==2.13.0" in (ROOT / "Makefile").read_text()


def test_the_page_about_architecture_has_the_layers_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert "\n".join("  ".join(layer.split(" | ")) for layer in layers if layer != "__main__") in page
