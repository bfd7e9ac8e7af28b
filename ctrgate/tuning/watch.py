"""How far a search is, said each time a trial ends."""

from __future__ import annotations

from ctrgate.progress import console
from ctrgate.tracking import Tracker
from ctrgate.tuning.journal import Journal
from ctrgate.tuning.plan import trial_name
from ctrgate.tuning.results import lines
from ctrgate.tuning.search import Search

__all__ = ["Watch"]


class Watch:
    """Tells of a search what is done, what is best and how long the rest may take; MLflow gets the best value."""

    def __init__(self, search: Search, journal: Journal, *, tracker: Tracker) -> None:
        self._search, self._journal, self._tracker = search, journal, tracker

    def ended(self, number: int) -> None:
        """A trial is decided or broke."""
        search, record = self._search, self._journal.of(number)
        found = lines(search, self._journal)
        done = [line for line in found if line.state != "open"]
        left = sum(line.seconds for line in done) / len(done) * (len(found) - len(done)) / search.settings.parallel
        how = {"stopped": "stopped early", "broken": "broke off"}.get(record.state, record.state)
        reached = record.best(larger_is_better=search.larger_is_better)
        value = f"{search.metric} {reached[1]:.5f} after {len(record.values)} epochs" if reached else record.reason
        best = found[0]
        told = "" if best.value is None else f"; best {best.value:.5f} (trial {trial_name(best.trial)})"
        rest = f", about {_duration(left)} left" if left else ""
        console.print(
            f"trial {trial_name(number)} {how}: {value}; {len(done)} of {len(found)} done{told}{rest}", markup=False
        )
        self._tracker.metrics({f"best_{search.metric}": best.value}, step=len(done))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
