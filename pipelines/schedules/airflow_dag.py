"""An Airflow DAG for the daily pipeline; copy it into the DAG folder and set the two names.

Airflow is no dependency of ctrgate: its worker needs only a shell and the environment that WORK names.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

WORK, RUN_FILE = "/srv/ctr", "configs/clicks.yaml"

# 3 says that the challenger was held, which is no failure. 4 says that the day's rows have stopped it: no second try
# mends them, and later days do without, so the task is skipped, and daily.notify tells who is to look.
DAILY = """
cd "$WORK" || exit 1
.venv/bin/python -m pipelines.daily "$RUN_FILE" --date "{{ data_interval_start | ds }}"
code=$?
[ $code -eq 3 ] && exit 0
exit $code
"""

with DAG(
    dag_id="ctrgate_daily",
    schedule=CronDataIntervalTimetable("15 3 * * *", timezone="UTC"),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=True,  # missed days are made up for in order,
    max_active_runs=1,  # one at a time: each goes on from the champion of the one before
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10), "depends_on_past": True},
):
    BashOperator(
        task_id="daily",
        bash_command=DAILY,
        env={"WORK": WORK, "RUN_FILE": RUN_FILE},
        append_env=True,
        skip_on_exit_code=4,
    )
