"""What schedulers are given: each of their lines is run as they would run it, with a stub in the pipeline's place."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from ctrgate import train
from ctrgate.config import load
from pipelines.daily.__main__ import parse

ROOT = Path(__file__).parents[2]
SCHEDULES = ROOT / "pipelines" / "schedules"
AIRFLOW = "apache-airflow==3.1.8"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working folder whose interpreter notes its arguments and says that the challenger was held."""
    stub = tmp_path / ".venv" / "bin" / "python"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\necho "$@" >> asked\nexit ${ENDS:-3}\n')
    stub.chmod(0o755)
    (tmp_path / "logs").mkdir()
    return tmp_path


def asked(work: Path) -> date:
    """The day that the pipeline was asked for."""
    line = (work / "asked").read_text().splitlines()[-1].split()
    assert line[:2] == ["-m", "pipelines.daily"]
    day: date = parse(line[2:]).date
    return day


def yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def test_the_crontab_s_line_runs_yesterday_and_complains_of_failures_alone(work: Path) -> None:
    (line,) = (line for line in (SCHEDULES / "crontab").read_text().splitlines() if line[:1].isdigit())
    assert line.split()[:5] == ["15", "3", "*", "*", "*"]
    command = " ".join(line.split()[5:]).replace("\\%", "\0")
    assert "%" not in command  # cron would end the line there
    command = command.replace("\0", "%").replace("/srv/ctr", str(work))
    for code, told in {0: "", 3: "", 1: "daily ended with 1, see logs/daily.log\n", 4: "daily ended with 4"}.items():
        done = subprocess.run(
            ["sh", "-c", command], env={"ENDS": str(code), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
        )
        assert done.stdout.startswith(told)
        assert bool(done.stdout) == bool(told)
    assert asked(work) == yesterday()


def test_the_systemd_unit_runs_yesterday_and_counts_held_as_success(work: Path) -> None:
    unit = dict(
        line.split("=", 1) for line in (SCHEDULES / "ctrgate-daily.service").read_text().splitlines() if "=" in line
    )
    command = shlex.split(unit["ExecStart"].replace("%%", "%"))
    assert subprocess.run(command, cwd=work, check=False).returncode == int(unit["SuccessExitStatus"]) == 3
    assert asked(work) == yesterday()
    assert "OnCalendar=*-*-* 03:15:00 UTC" in (SCHEDULES / "ctrgate-daily.timer").read_text()


def test_the_cron_job_runs_yesterday_in_its_volume(work: Path) -> None:
    job = yaml.safe_load((SCHEDULES / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["concurrencyPolicy"]) == ("batch/v1", "CronJob", "Forbid")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["workingDir"] in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    script = [part.replace("python", str(work / ".venv/bin/python"), 1) for part in container["args"]]
    assert subprocess.run([*container["command"], *script], cwd=work, check=False).returncode == 3
    assert asked(work) == yesterday()
    rule = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert rule["containerName"] == container["name"]


def test_the_ray_job_trains_with_settings_that_there_are() -> None:
    job = yaml.safe_load((SCHEDULES / "rayjob.yaml").read_text())
    program, verb, _, *overrides = shlex.split(job["spec"]["entrypoint"])
    assert (program, verb) == ("ctrgate", "train")
    config = load(ROOT / "configs/experiments/frappe_final_mlp_fused.yaml", train.Config, overrides)
    workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert config.train.workers == workers["replicas"]
    (container,) = workers["template"]["spec"]["containers"]
    assert int(container["resources"]["requests"]["cpu"]) == config.cluster.cpus_per_worker
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split() if "==" in line)
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == locked["ray"]


LOADED = """
import json, sys
import pendulum
from airflow.models.dagbag import DagBag
from airflow.timetables.base import TimeRestriction
bag = DagBag(sys.argv[1], include_examples=False, safe_mode=False)
(dag,) = bag.dags.values()
(task,) = dag.tasks
night = dag.timetable.next_dagrun_info(
    last_automated_data_interval=None, restriction=TimeRestriction(pendulum.datetime(2025, 3, 3), None, True)
)
task.render_template_fields({"data_interval_start": night.data_interval.start})
found = {"errors": list(bag.import_errors.values()), "command": task.bash_command, "env": task.env, "dag": dag.dag_id,
         "after": night.run_after.isoformat(), "skipped": list(task.skip_on_exit_code)}
print("\\n" + json.dumps(found))
"""


@pytest.mark.slow
def test_the_airflow_dag_is_loaded_by_the_real_airflow_and_its_command_runs(work: Path) -> None:
    """In an environment of its own, as Airflow pins what ctrgate pins otherwise."""
    subprocess.run([sys.executable, "-m", "venv", work / "airflow"], check=True)
    python = work / "airflow" / "bin" / "python"
    pip = subprocess.run([python, "-m", "pip", "install", "--quiet", AIRFLOW], capture_output=True, text=True)
    if "Could not find a version" in pip.stderr:
        pytest.skip(f"no package index here has {AIRFLOW}: {pip.stderr.strip().splitlines()[-1]}")
    assert pip.returncode == 0, pip.stderr[-3000:]
    home = {"AIRFLOW_HOME": str(work / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PATH": "/usr/bin:/bin"}
    loaded = subprocess.run(
        [python, "-c", LOADED, SCHEDULES], env=home, cwd=work, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    found = json.loads(loaded.stdout.splitlines()[-1])
    assert (found["errors"], found["dag"], found["skipped"]) == ([], "ctrgate_daily", [4])
    assert found["after"] == "2025-03-04T03:15:00+00:00"
    for code, ends in {0: 0, 3: 0, 4: 4, 1: 1}.items():
        environment = {**found["env"], "WORK": str(work), "ENDS": str(code), "PATH": "/usr/bin:/bin"}
        assert subprocess.run(["bash", "-c", found["command"]], env=environment, check=False).returncode == ends
    assert asked(work) == date(2025, 3, 3)
