"""The command line: one line of JSON, exit codes, and help that costs nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ctrgate
from ctrgate.cli import ALIASES, VERBS, main
from ctrgate.config import settings
from ctrgate.errors import DataError, HeldBackError, Interrupted


@settings
class Config:
    """What the verb of these tests reads."""

    seed: int = 0
    """Where chance begins."""


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[Config], Any]], list[str]]:
    """Put a function in the place of ``prepare``; gives the arguments that run it."""

    def install(run: Callable[[Config], Any]) -> list[str]:
        module: Any = ModuleType("ctrgate.prepare")
        module.Config, module.run = Config, run
        monkeypatch.setitem(sys.modules, "ctrgate.prepare", module)
        monkeypatch.setattr(ctrgate, "prepare", module, raising=False)
        path = tmp_path / "run.yaml"
        path.write_text("seed: 3\n")
        return ["prepare", str(path)]

    return install


def raising(error: BaseException) -> Callable[[Config], Any]:
    def run(_: Config) -> Any:
        raise error

    return run


def test_the_result_is_one_line_of_json_whatever_else_is_printed(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def run(config: Config) -> dict[str, Any]:
        print("a library talks")  # noqa: T201
        os.write(1, b"and another below Python\n")
        return {"seed": config.seed, "auc": float("nan"), "place": Path("a"), "rows": (1, 2.5, True, None)}

    assert main(verb(run)) == 0
    out, err = capfd.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == {"seed": 3, "auc": None, "place": "a", "rows": [1, 2.5, True, None]}
    assert "a library talks" in err
    assert "and another below Python" in err


def test_numbers_of_numpy_are_numbers(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    numpy = pytest.importorskip("numpy")
    assert main(verb(lambda _: {"a": numpy.float32(0.5), "b": numpy.int64(2), "c": numpy.float64("nan")})) == 0
    assert json.loads(capfd.readouterr().out) == {"a": 0.5, "b": 2, "c": None}


def test_overrides_reach_the_verb(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*verb(lambda config: {"seed": config.seed}), "seed=9"]) == 0
    assert json.loads(capfd.readouterr().out) == {"seed": 9}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("a.csv is empty"), 2, "ctrgate prepare: a.csv is empty"),
        (HeldBackError("drift"), 3, "ctrgate prepare: drift"),
        (Interrupted("saved", signal_number=signal.SIGTERM), 143, "ctrgate prepare: saved"),
        (KeyboardInterrupt(), 130, "ctrgate prepare: interrupted"),
        (ZeroDivisionError("oops"), 1, "ZeroDivisionError: oops"),
        (ZeroDivisionError("oops"), 1, "this is a fault of ctrgate"),
    ],
)
def test_each_kind_of_end_has_its_exit_code(
    verb: Any, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    assert main(verb(raising(error))) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert ("Traceback" in err) == (code == 1)


def test_a_fault_of_the_run_file_is_told_as_the_users(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = verb(lambda _: {})
    assert main([*arguments, "sed=1"]) == 2
    assert capfd.readouterr().err == (
        f"ctrgate prepare: {arguments[1]} is not a valid run:\n  sed: no such section; did you mean seed?\n"
    )


def test_a_verb_without_its_run_file_says_what_it_needs(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(verb(lambda _: {})[:1]) == 2
    assert "needs a run file: ctrgate prepare RUN.yaml" in capfd.readouterr().err


def test_an_unknown_verb_is_the_users_fault(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prepair"])
    assert ended.value.code == 2
    assert "prepair" in capfd.readouterr().err


def test_every_module_with_a_run_function_is_a_verb_and_says_what_it_does() -> None:
    modules = Path(ctrgate.__file__).parent.glob("*.py")
    runnable = {path.stem for path in modules if re.search(r"^def run\(", path.read_text(), flags=re.MULTILINE)}
    assert runnable == set(VERBS)
    assert set(ALIASES.values()) <= set(VERBS)


def test_a_verb_shows_its_settings_and_their_meaning(verb: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*verb(lambda _: {})[:1], "--help"]) == 0
    out = capfd.readouterr().out
    assert "usage: ctrgate prepare RUN.yaml" in out
    assert "  seed [0]  Where chance begins." in out


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], **(pipes | options))


def test_help_lists_every_verb_and_imports_no_torch() -> None:
    code = (
        "import sys\nfrom ctrgate.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'polars' not in sys.modules"
    )
    process = command("-c", code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for name in (*VERBS, *ALIASES):
        assert re.search(rf"^  {name} +\w.*\.$", out, flags=re.MULTILINE), name


def test_preparing_imports_no_torch() -> None:
    process = command("-c", "import sys, ctrgate.prepare\nassert 'torch' not in sys.modules")
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_wait_briefly_unless_the_environment_says_how(given: dict[str, str], expected: str) -> None:
    code = (
        "import importlib, os, sys\nfrom ctrgate.cli import main\n"
        "def loaded(name):\n    assert 'torch' not in sys.modules\n"
        "    print(os.environ.get('GOMP_SPINCOUNT'), flush=True)\n    raise KeyboardInterrupt\n"
        "importlib.import_module = loaded\nmain(['train', '--help'])"
    )
    settled = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in settled} | given
    process = command("-c", code, env=environment)
    _, err = process.communicate(timeout=60)
    assert err.splitlines()[0] == expected


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = command("-c", "import time, sys\nfrom ctrgate.cli import main\nsys.exit(main(['prepare', '--help']))")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_sigterm_unwinds_and_gives_143(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    code = (
        "import sys, time, types\nfrom ctrgate.cli import main\nfrom ctrgate.config import settings\n"
        "from ctrgate.files import atomic_folder\nmodule = types.ModuleType('ctrgate.prepare')\n"
        "@settings\nclass Config:\n    seed: int = 0\n"
        "def run(config):\n    with atomic_folder('made'):\n        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "module.Config, module.run = Config, run\nsys.modules['ctrgate.prepare'] = module\n"
        "sys.exit(main(['prepare', 'run.yaml']))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ctrgate.__file__).parents[1])}
    process = command("-c", code, cwd=tmp_path, env=environment)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.yaml"]
