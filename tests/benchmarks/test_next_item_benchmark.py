"""The table of next-item runs, worked by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.next_item import BEAUTY, EXPERIMENTS, Trained, table


def trained(ranks: list[int]) -> Trained:
    return Trained(ranks=np.array(ranks), parameters=1_234, epochs=7, epoch_seconds=12.4, gigabytes=1.26)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_means_are_over_seeds_and_differences_over_users() -> None:
    lines = table({"one": [trained([1, 3, 0, 11]), trained([1, 1, 0, 0])], "two": [trained([1, 1, 0, 0])] * 2})
    first, second = map(cells, lines.splitlines()[2:])
    # NDCG of the first: (1 + .5) / 4 = .375 and 2 / 4 = .5; mean .4375, standard deviation .125 / sqrt 2 = .0884
    assert first == [
        "one", "2", "0.5000 ± 0.0000", "0.4375 ± 0.0884", "—", "1,234", "7 7", "12", "1.3",
    ]  # fmt: skip
    assert second[:4] == ["two", "2", "0.5000 ± 0.0000", "0.5000 ± 0.0000"]
    # only the second user differs, by .25: the mean over four users is .0625
    assert second[4].startswith("+0.0625 [+0.0000, ")


def test_every_run_file_of_the_comparison_is_there() -> None:
    assert [name for name in BEAUTY if not (EXPERIMENTS / f"{name}.yaml").exists()] == []
