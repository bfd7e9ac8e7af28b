"""The doctor: a sound machine passes, and each fault is named with its remedy."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from ctrgate import doctor
from ctrgate.errors import ConfigError
from ctrgate.progress import console
from ctrgate.tracking import TrackingConfig

SOUND = {"torch": "2.13.0+cpu", "torchrec": "1.8.0", "fbgemm-gpu-cpu": "1.8.0"}


def install(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    """Pretend that these packages are installed; None is missing."""
    packages = SOUND | {name.replace("_", "-"): version for name, version in changes.items()}
    monkeypatch.setattr(doctor, "_installed", packages.get)
    monkeypatch.setattr(doctor, "_loads", lambda: doctor.Check(name="native libraries", state="ok", found=""))


def states(checks: object) -> dict[str, str]:
    return {check.name: check.state for check in checks}  # type: ignore[attr-defined]


def test_this_installation_is_sound_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(console, "file", told)
    monkeypatch.chdir(tmp_path)
    result = doctor.run()
    assert {check["name"] for check in result["checks"]} >= {"torch", "fbgemm", "native libraries", "threads", "mlflow"}
    assert "torchrec" in told.getvalue()
    assert list(tmp_path.iterdir()) == []


def test_importing_the_doctor_imports_no_torch() -> None:
    code = "import sys, ctrgate.doctor; sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_fault_is_told_at_once_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, torch="2.12.1", torchrec=None)
    with pytest.raises(ConfigError, match="faults") as told:
        doctor.run()
    assert "torch: 2.12.1; 2.13.0 is wanted; run `make setup`" in str(told.value)
    assert "torchrec: not installed; 1.8.0 is wanted" in str(told.value)
    assert "fbgemm:" not in str(told.value)


def test_both_builds_of_fbgemm_at_once_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, fbgemm_gpu="1.9.0")
    (check,) = [check for check in doctor._triple() if check.name == "fbgemm"]
    assert check.state == "fault"
    assert "uninstall" in check.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"torch": "2.13.0+cu130", "fbgemm_gpu_cpu": "1.8.0+cpu"},
        {"fbgemm_gpu_cpu": None, "fbgemm_gpu": "1.8.0", "torch": "2.13.0"},
    ],
)
def test_the_sets_that_belong_together_pass(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None]) -> None:
    install(monkeypatch, **changes)
    assert set(states(doctor._triple()).values()) == {"ok"}


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("OSError: fbgemm_gpu_py.so: undefined symbol: _ZN3c10", "do not fit each other"),
        ("AttributeError: '_OpNamespace' 'fbgemm' object has no attribute 'jagged_2d_to_dense'", "do not fit"),
        ("ImportError: File fbgemm_gpu_py.so not found", "for another machine"),
        ("OSError: libcudart.so.13: cannot open shared object file", "install fbgemm-gpu-cpu in its place"),
        ("ModuleNotFoundError: No module named 'torchrec'", "make setup"),
    ],
)
def test_a_library_that_does_not_load_is_told_by_its_symptom(
    monkeypatch: pytest.MonkeyPatch, message: str, remedy: str
) -> None:
    monkeypatch.setattr(doctor, "_PROBE", f"import sys; sys.exit({message!r})")
    check = doctor._loads()
    assert (check.state, check.found) == ("fault", message)
    assert remedy in check.remedy


def test_a_library_that_kills_the_process_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    check = doctor._loads()
    assert check.state == "fault"
    assert "signal 11" in check.found


def test_a_gpu_with_the_cpu_build_of_fbgemm_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", SOUND.get)
    for device, state in (('"H200"', "warn"), ("null", "ok")):
        facts = f'{{"cuda_build": "13.0", "device": {device}}}'
        monkeypatch.setattr(doctor, "_PROBE", f"print({facts!r})")
        assert doctor._loads().state == state


def test_packages_are_compared_with_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# locked\npolars==2.1.0 \\\n    --hash=sha256:ab\nnumpy==2.0.0\ncolorama==0.4 ; sys_platform == 'win32'\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(doctor, "_installed", {"polars": "2.1.0", "numpy": "1.9"}.get)
    (check,) = doctor._locked(lock)
    assert (check.state, check.found) == ("warn", "numpy 1.9 (locked 2.0.0)")
    monkeypatch.setattr(doctor, "_installed", {"polars": "2.1.0", "numpy": "2.0.0"}.get)
    assert states(doctor._locked(lock)) == {"locked packages": "ok"}
    assert list(doctor._locked(None)) == []


def test_what_a_cpu_lacks_is_told() -> None:
    assert states(doctor._cpu({"avx2", "avx512f", "avx512_bf16"})) == {"cpu": "ok", "bf16": "ok"}
    assert states(doctor._cpu({"avx2"})) == {"cpu": "ok", "bf16": "warn"}
    assert states(doctor._cpu(set())) == {"cpu": "warn", "bf16": "warn"}


def test_more_threads_than_cpus_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cpus", lambda: 2.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    (check,) = doctor._threads()
    assert check.state == "warn"
    assert "export OMP_NUM_THREADS=2" in check.remedy
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert states(doctor._threads()) == {"threads": "ok"}


def test_little_space_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(total=1e12, used=1e12, free=2e8))
    assert set(states(doctor._disk()).values()) == {"warn"}


def test_a_store_that_is_no_store_is_a_warning_for_training_goes_on_without(tmp_path: Path) -> None:
    broken = tmp_path / "mlflow.db"
    broken.write_text("not a database", encoding="utf-8")
    check = doctor._tracking(TrackingConfig(uri=f"sqlite:///{broken}"))
    assert check.state == "warn"
    assert "not a database" in check.found
