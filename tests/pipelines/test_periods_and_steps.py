"""Days, weeks and months with their files, and steps that are done once."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from ctrgate.files import checksum
from pipelines.daily.periods import Files, later, periods, start_of
from pipelines.daily.settings import DailySettings
from pipelines.daily.steps import Steps, key_of


@pytest.mark.parametrize(
    ("period", "day", "start", "following", "before"),
    [
        ("day", date(2024, 2, 28), date(2024, 2, 28), date(2024, 2, 29), date(2024, 2, 27)),
        ("week", date(2025, 1, 1), date(2024, 12, 30), date(2025, 1, 6), date(2024, 12, 23)),
        ("month", date(2024, 12, 31), date(2024, 12, 1), date(2025, 1, 1), date(2024, 11, 1)),
        ("month", date(2025, 1, 31), date(2025, 1, 1), date(2025, 2, 1), date(2024, 12, 1)),
    ],
)
def test_a_period_begins_where_calendars_say(
    period: str, day: date, start: date, following: date, before: date
) -> None:
    assert start_of(day, period=period) == start
    assert later(day, 1, period=period) == following
    assert later(day, -1, period=period) == before


def test_periods_follow_one_another_without_gap() -> None:
    assert list(periods(date(2024, 11, 15), date(2025, 2, 1), period="month")) == [
        date(2024, 11, 1),
        date(2024, 12, 1),
        date(2025, 1, 1),
        date(2025, 2, 1),
    ]
    assert list(periods(date(2025, 1, 2), date(2025, 1, 1), period="day")) == []


def test_files_are_read_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daily = DailySettings(files=f"{tmp_path}/{{date}}/*.csv", date_format="%Y%m%d", first=date(2025, 1, 1))
    folder = tmp_path / "20250102"
    folder.mkdir()
    for name in ("b.csv", "a.csv"):
        (folder / name).write_text(name)
    read: list[Path] = []

    def counted(path: str) -> str:
        read.append(Path(path))
        return checksum(path)

    monkeypatch.setattr("pipelines.daily.periods.checksum", counted)
    memory = tmp_path / "memory.json"
    found = Files(daily, memory=memory).of(date(2025, 1, 2))
    assert list(found.items()) == [(str(folder / name), checksum(folder / name)) for name in ("a.csv", "b.csv")]
    assert Files(daily, memory=memory).of(date(2025, 1, 2)) == found
    assert len(read) == 2
    (folder / "a.csv").write_text("late")
    os.utime(folder / "a.csv", ns=(1, 1))
    assert Files(daily, memory=memory).of(date(2025, 1, 2))[str(folder / "a.csv")] == checksum(folder / "a.csv")
    assert Files(daily, memory=memory).of(date(2025, 1, 3)) == {}


def test_the_date_must_stand_in_the_path() -> None:
    with pytest.raises(ValidationError, match=r"files needs \{date\}"):
        DailySettings(files="events/*.csv", first=date(2025, 1, 1))


def test_a_step_is_done_once_and_again_with_all_that_follow_when_what_it_needs_changes(tmp_path: Path) -> None:
    done: list[str] = []

    def run(first: str, second: str) -> list[int]:
        steps, results = Steps(tmp_path, key=key_of("start")), []
        for name, needs in (("one", first), ("two", second)):

            def work(name: str = name) -> dict[str, int]:
                done.append(name)
                return {"number": len(done)}

            results.append(steps.once(name, work, needs=needs)["number"])
        return results

    assert run("a", "b") == [1, 2]
    assert run("a", "b") == [1, 2]
    assert run("a", "c") == [1, 3]
    assert run("z", "c") == [4, 5]
    assert done == ["one", "two", "two", "one", "two"]


def test_a_step_that_fails_is_not_done(tmp_path: Path) -> None:
    def work() -> dict[str, int]:
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        Steps(tmp_path, key="k").once("one", work)
    assert Steps(tmp_path, key="k").once("one", lambda: {"number": 7}) == {"number": 7}
