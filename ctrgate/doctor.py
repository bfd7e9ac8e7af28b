"""Check the machine and its installation, and say how to mend each fault."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from ctrgate.errors import ConfigError
from ctrgate.progress import console
from ctrgate.tracking import TrackingConfig, probe

__all__ = ["Check", "run"]

State = Literal["ok", "warn", "fault"]
_TORCH, _TORCHREC, _FBGEMM = "2.13.0", "1.8.0", "1.8.0"
_INSTALL = "run `make setup`, or install requirements.lock without dependency resolution (README, Set-up)"
_IMPORT_SECONDS = 120
_MIN_FREE_GB = 5.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at, what was found, and what to do about it where it is not ok."""

    name: str
    state: State
    found: str
    remedy: str = ""


def run() -> dict[str, Any]:
    """Run every check and show them as a table.

    Returns:
        ``checks``: name, state, found and remedy of each; ``warnings``: how many.

    Raises:
        ConfigError: With every fault and its remedy, if there is any.
    """
    checks = [
        _python(),
        *_triple(),
        *_locked(_lock_file()),
        *_cpu(_cpu_flags()),
        *_threads(),
        *_disk(),
        _tracking(TrackingConfig()),
    ]
    _show(checks)
    faults = [f"{check.name}: {check.found}; {check.remedy}" for check in checks if check.state == "fault"]
    if faults:
        raise ConfigError("this installation has faults:\n" + "\n".join(f"  {fault}" for fault in faults))
    return {
        "checks": [asdict(check) for check in checks],
        "warnings": sum(check.state == "warn" for check in checks),
    }


def _show(checks: list[Check]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("check", "", "found", "remedy"):
        table.add_column(column, overflow="fold")
    colors = {"ok": "green", "warn": "yellow", "fault": "bold red"}
    for check in checks:
        table.add_row(check.name, f"[{colors[check.state]}]{check.state}[/]", escape(check.found), escape(check.remedy))
    console.print(table, soft_wrap=False)


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)):
        remedy = "use Python 3.11, 3.12 or 3.13: torchrec and fbgemm have builds for these"
        return Check(name="python", state="fault", found=found, remedy=remedy)
    if sys.platform != "linux":
        return Check(
            name="python", state="fault", found=sys.platform, remedy="use Linux: fbgemm has builds for it only"
        )
    return Check(name="python", state="ok", found=found)


def _triple() -> Iterator[Check]:
    """torch, torchrec and fbgemm belong together, and must load."""
    yield _version("torch", wanted=_TORCH)
    yield _version("torchrec", wanted=_TORCHREC)
    builds = {name: version for name in ("fbgemm-gpu-cpu", "fbgemm-gpu") if (version := _installed(name))}
    found = ", ".join(f"{name} {version}" for name, version in builds.items()) or "not installed"
    if len(builds) == 2:
        remedy = "both write the same files: pip uninstall fbgemm-gpu fbgemm-gpu-cpu, then install one of them"
        yield Check(name="fbgemm", state="fault", found=found, remedy=remedy)
    elif [version.partition("+")[0] for version in builds.values()] != [_FBGEMM]:
        yield Check(name="fbgemm", state="fault", found=found, remedy=f"{_FBGEMM} is wanted; {_INSTALL}")
    else:
        yield Check(name="fbgemm", state="ok", found=found)
    yield _loads()


def _version(package: str, *, wanted: str) -> Check:
    found = _installed(package)
    if (found or "").partition("+")[0] == wanted:
        return Check(name=package, state="ok", found=str(found))
    return Check(name=package, state="fault", found=found or "not installed", remedy=f"{wanted} is wanted; {_INSTALL}")


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


_PROBE = """
import warnings; warnings.filterwarnings("ignore")
import json, torch, fbgemm_gpu, torchrec
torch.ops.fbgemm.jagged_2d_to_dense
cuda = torch.cuda.is_available()
print(json.dumps({"cuda_build": torch.version.cuda, "device": torch.cuda.get_device_name() if cuda else None}))
"""


def _loads() -> Check:
    """Import the three in a process of their own, which a broken native library may bring down."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        found = f"importing torch, fbgemm_gpu and torchrec took more than {_IMPORT_SECONDS} s"
        return Check(
            name="native libraries", state="fault", found=found, remedy="look at the disk's and machine's load"
        )
    if done.returncode != 0:
        return _broken(done.stderr, code=done.returncode)
    facts = json.loads(done.stdout.splitlines()[-1])
    build = f"torch for CUDA {facts['cuda_build']}" if facts["cuda_build"] else "torch for CPU"
    cuda_fbgemm = _installed("fbgemm-gpu") is not None
    if facts["device"] and not cuda_fbgemm:
        remedy = "tables stay on the CPU: for the GPU replace fbgemm-gpu-cpu by fbgemm-gpu (README, Set-up)"
        return Check(name="native libraries", state="warn", found=f"{build}, {facts['device']}", remedy=remedy)
    return Check(name="native libraries", state="ok", found=f"{build}, {facts['device'] or 'no GPU in use'}")


def _broken(stderr: str, *, code: int) -> Check:
    """A failed import, with what its message means."""
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), f"ended with code {code}")
    symptoms = {
        r"undefined symbol|jagged_2d_to_dense": f"torch and fbgemm do not fit each other; {_INSTALL}",
        r"fbgemm_gpu_py\.so|fbgemm_gpu_\w+\.so": f"a build of fbgemm for another machine is installed; {_INSTALL}",
        r"libcu\w+\.so|libnv\w+\.so|libtorch_cuda": "fbgemm-gpu needs CUDA: install fbgemm-gpu-cpu in its place",
        r"No module named": _INSTALL,
    }
    remedy = next((remedy for sign, remedy in symptoms.items() if re.search(sign, stderr)), _INSTALL)
    if code < 0:
        last = f"importing torch, fbgemm_gpu and torchrec was ended by signal {-code}"
    return Check(name="native libraries", state="fault", found=last.strip()[:200], remedy=remedy)


def _lock_file() -> Path | None:
    places = (Path.cwd(), Path(__file__).resolve().parent.parent)
    return next((place / "requirements.lock" for place in places if (place / "requirements.lock").exists()), None)


def _locked(lock: Path | None) -> Iterator[Check]:
    """Packages beside the triple against the lock file, where it is at hand."""
    if lock is None:
        return
    text = lock.read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[ \t]*(;?)", text, flags=re.MULTILINE)
    judged = ("torch", "torchrec", "fbgemm-gpu", "fbgemm-gpu-cpu")
    differing = []
    for package, wanted, marker in pins:
        found = _installed(package)
        elsewhere = found is None and marker  # locked for another Python or machine
        if package.lower().replace("_", "-") not in judged and found != wanted and not elsewhere:
            differing.append(f"{package} {found or 'missing'} (locked {wanted})")
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        yield Check(name="locked packages", state="warn", found=shown, remedy=_INSTALL)
    else:
        yield Check(name="locked packages", state="ok", found=f"{len(pins)} as locked")


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, flags=re.MULTILINE)
    return set(match[1].split()) if match else set()


def _cpu(flags: set[str]) -> Iterator[Check]:
    """What the CPU's instruction sets allow."""
    if "avx2" not in flags:
        remedy = "training works, but table lookups take fbgemm's slow path; use an x86-64 CPU of 2013 or later"
        yield Check(name="cpu", state="warn", found=f"{platform.machine()} without AVX2", remedy=remedy)
    elif "avx512f" not in flags:
        remedy = "nothing is wrong; matrix products and lookups run at about half the speed of AVX-512"
        yield Check(name="cpu", state="ok", found="AVX2", remedy=remedy)
    else:
        yield Check(name="cpu", state="ok", found="AVX2, AVX-512")
    if "avx512_bf16" in flags:
        yield Check(name="bf16", state="ok", found="AVX512-BF16")
    else:
        remedy = "keep train.precision: fp32; bf16 gives the same model here but no speed"
        yield Check(name="bf16", state="warn", found="no AVX512-BF16", remedy=remedy)


def _threads() -> Iterator[Check]:
    """Threads against the CPUs that this process may use."""
    allowed, asked = usable_cpus(), os.environ.get("OMP_NUM_THREADS", "")
    found = f"{allowed:g} CPUs usable of {os.cpu_count()}, OMP_NUM_THREADS {asked or 'not set'}"
    threads = int(asked) if asked.isdigit() and int(asked) > 0 else len(os.sched_getaffinity(0))
    if threads > max(1.0, allowed):
        remedy = f"{threads} threads would share {allowed:g} CPUs: export OMP_NUM_THREADS={max(1, int(allowed))}"
        yield Check(name="threads", state="warn", found=found, remedy=remedy)
    else:
        yield Check(name="threads", state="ok", found=found)


def usable_cpus() -> float:
    """CPUs that this process may use: its affinity, cut by the control group's quota."""
    allowed = float(len(os.sched_getaffinity(0)))
    for quota_file, period_file in (
        ("/sys/fs/cgroup/cpu.max", None),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    ):
        try:
            words = Path(quota_file).read_text(encoding="utf-8").split()
            words += Path(period_file).read_text(encoding="utf-8").split() if period_file else []
        except OSError:
            continue
        if len(words) == 2 and words[0] != "max" and int(words[0]) > 0:
            allowed = min(allowed, int(words[0]) / int(words[1]))
    return allowed


def _disk() -> Iterator[Check]:
    """Free space where runs, temporary files and shared memory lie."""
    runs = Path("runs").resolve()
    runs = next(place for place in (runs, *runs.parents) if place.exists())
    yield _free("disk for runs", runs, needed_gb=_MIN_FREE_GB, remedy="free some space, or set runs in the run file")
    temporary = Path(tempfile.gettempdir())
    yield _free("disk for temporary files", temporary, needed_gb=1.0, remedy="free some space, or export TMPDIR")
    shared = Path("/dev/shm")
    if shared.exists():
        remedy = "several workers need it: give the container more (docker run --shm-size=1g)"
        yield _free("shared memory", shared, needed_gb=0.25, remedy=remedy)


def _free(name: str, place: Path, *, needed_gb: float, remedy: str) -> Check:
    free_gb = shutil.disk_usage(place).free / 1e9
    found = f"{free_gb:,.1f} GB free at {place}"
    if not os.access(place, os.W_OK):
        return Check(name=name, state="fault", found=f"{place} cannot be written", remedy=remedy)
    if free_gb < needed_gb:
        return Check(name=name, state="warn", found=found, remedy=f"less than {needed_gb:g} GB: {remedy}")
    return Check(name=name, state="ok", found=found)


def _tracking(config: TrackingConfig) -> Check:
    problem = probe(config)
    if problem is None:
        return Check(name="mlflow", state="ok", found=config.uri)
    remedy = "training goes on without it and spools; set tracking.uri, or tracking.enabled=false"
    return Check(name="mlflow", state="warn", found=f"{config.uri}: {problem}", remedy=remedy)
