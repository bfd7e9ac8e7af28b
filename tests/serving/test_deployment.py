"""The image and the Kubernetes Job, as far as they can be looked at without running them."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from ctrgate import score
from ctrgate.config import load
from ctrgate.errors import DataError, HeldBackError

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "serving"


def steps() -> list[tuple[str, str]]:
    lines = (SERVING / "Dockerfile").read_text().splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line and not line.startswith("#")]


def test_the_image_takes_what_there_is_and_installs_as_the_tested_environment() -> None:
    copies = [shlex.split(rest) for step, rest in steps() if step == "COPY"]
    for *sources, _ in copies:
        for source in sources:
            assert (ROOT / source).exists(), source
    targets = {source: to for *sources, to in copies for source in sources}
    installs = [rest for step, rest in steps() if step == "RUN" and rest.startswith("pip install")]
    assert installs[0].endswith(f"-r {targets['serving/requirements.txt']}")
    assert installs[1] == "pip install --no-deps /opt/ctrgate"
    assert {"pyproject.toml", "README.md", "ctrgate"} <= targets.keys()
    (entrypoint,) = (yaml.safe_load(rest) for step, rest in steps() if step == "ENTRYPOINT")
    assert entrypoint == ["python", targets["serving/batch.py"]]


def test_the_job_runs_the_image_s_command_with_settings_that_there_are() -> None:
    job = yaml.safe_load((SERVING / "job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    run_file, *overrides = container["args"]
    assert run_file == "score.yaml"
    config = load(ROOT / "configs/experiments/demo.yaml", score.Config, ["score.files=[x.parquet]", *overrides])
    assert config.score.processes == int(container["resources"]["requests"]["cpu"])
    (work,) = (rest for step, rest in steps() if step == "WORKDIR")
    (user,) = (rest for step, rest in steps() if step == "USER")
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert container["workingDir"] == work
    assert work in mounts
    assert "/tmp" in mounts  # the only place beside it that can be written to
    assert str(pod["securityContext"]["runAsUser"]) == user
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}


def test_the_job_gives_up_on_exit_codes_that_no_second_try_changes() -> None:
    job = yaml.safe_load((SERVING / "job.yaml").read_text())
    rule = job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert rule["containerName"] == job["spec"]["template"]["spec"]["containers"][0]["name"]
    assert set(rule["values"]) == {DataError.exit_code, HeldBackError.exit_code}
