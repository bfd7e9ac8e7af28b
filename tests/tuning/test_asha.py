"""The journal of a search, and ASHA, which goes on from it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ctrgate.cluster.tune import Asha
from ctrgate.errors import DataError
from ctrgate.tuning.journal import Journal, Record
from ctrgate.tuning.settings import AshaSettings

# The journal


def test_a_journal_is_read_as_it_was_written_but_for_a_line_cut_short(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.report(0, epoch=1, value=0.5, seconds=1.0, decision="continue")
    journal.report(1, epoch=1, value=0.25, seconds=2.0, decision="stop")
    journal.report(0, epoch=2, value=0.75, seconds=1.0, decision="continue")
    journal.end(2, "broken", seconds=3.0, reason="exit code -9")
    with journal.path.open("a") as file:
        file.write('{"trial": 0, "epo')
    again = Journal(journal.path)
    assert again.records == journal.records
    assert again.reports == journal.reports == [(0, 1, "continue"), (1, 1, "stop"), (0, 2, "continue")]
    assert [again.of(trial).state for trial in range(4)] == ["open", "stopped", "broken", "open"]
    assert [again.of(trial).decided for trial in range(4)] == [False, True, False, False]
    again.end(0, "finished")
    assert Journal(journal.path).of(0).state == "finished"
    journal.path.write_text('{"trial": 0}\n')
    with pytest.raises(DataError, match="line 1 is damaged"):
        Journal(journal.path)


def test_the_earlier_of_equally_good_epochs_is_best() -> None:
    record = Record(values=[0.5, 0.9, 0.9, 0.5])
    assert record.best(larger_is_better=True) == (2, 0.9)
    assert record.best(larger_is_better=False) == (1, 0.5)
    assert record.best(larger_is_better=True, before=1) == (1, 0.5)
    assert Record().best(larger_is_better=True) is None


def naive_asha(reports: list[tuple[int, int, float]], *, grace: int, factor: int, most: int) -> list[str]:
    """A rung keeps what came to it; a trial stops where it is below the upper 1 / factor of those before it."""
    rungs: dict[int, list[float]] = {}
    rung, decisions, best = grace, [], {}
    while rung <= most:
        rungs[rung] = []
        rung *= factor
    for trial, epoch, value in reports:
        best[trial] = max(value, best.get(trial, -math.inf))
        before = rungs.get(epoch)
        if before is None or epoch == most:
            decisions.append("continue")
            continue
        below = before and best[trial] < np.percentile(before, 100 * (1 - 1 / factor))
        decisions.append("stop" if below else "continue")
        before.append(best[trial])
    return decisions


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("cut", [0, 1, 7, 20, 33])
def test_asha_decides_as_a_naive_one_and_goes_on_as_if_it_had_never_ended(
    tmp_path: Path, cut: int, larger: bool
) -> None:
    random = np.random.default_rng(5)
    asha = AshaSettings(grace_epochs=1, factor=3)

    def open_journal() -> tuple[Journal, Asha]:
        journal = Journal(tmp_path / "journal.jsonl")
        return journal, Asha(asha, max_epochs=9, journal=journal, larger_is_better=larger)

    journal, judge = open_journal()
    taken: list[tuple[int, int, float]] = []
    going = dict.fromkeys(range(12), 0)
    while going:
        trial = int(random.choice(list(going)))
        going[trial] += 1
        value = float(random.normal())
        if len(taken) == cut:
            journal, judge = open_journal()
        decision = judge.take(trial, epoch=going[trial], value=value, seconds=0.0)
        taken.append((trial, going[trial], value))
        if decision == "stop" or going[trial] == 9:
            del going[trial]
    decisions = [decision for _, _, decision in journal.reports]
    assert decisions == naive_asha(taken, grace=1, factor=3, most=9)
    assert {"stop", "continue"} == set(decisions)
    sign = 1 if larger else -1
    assert [sign * value for trial, _, value in taken if trial == 3] == journal.of(3).values


def test_a_trial_that_improved_since_a_rung_stands_there_as_it_came(tmp_path: Path) -> None:
    for again in (False, True):
        journal = Journal(tmp_path / f"{again}.jsonl")
        judge = Asha(AshaSettings(factor=2), max_epochs=9, journal=journal, larger_is_better=True)
        judge.take(0, epoch=1, value=0.1, seconds=0.0)
        judge.take(0, epoch=2, value=0.9, seconds=0.0)
        if again:
            judge = Asha(AshaSettings(factor=2), max_epochs=9, journal=Journal(journal.path), larger_is_better=True)
        assert judge.take(1, epoch=1, value=0.5, seconds=0.0) == "continue"
        assert judge.take(2, epoch=1, value=0.2, seconds=0.0) == "stop"


def test_an_epoch_that_is_known_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    judge = Asha(AshaSettings(), max_epochs=9, journal=journal, larger_is_better=True)
    judge.take(0, epoch=1, value=0.5, seconds=1.0)
    text = journal.path.read_text()
    assert judge.take(0, epoch=1, value=0.9, seconds=1.0) == "continue"
    assert journal.path.read_text() == text


def test_without_asha_no_trial_ends_early(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    judge = Asha(None, max_epochs=9, journal=journal, larger_is_better=True)
    for trial in range(10):
        assert judge.take(trial, epoch=1, value=-float(trial), seconds=0.0) == "continue"
