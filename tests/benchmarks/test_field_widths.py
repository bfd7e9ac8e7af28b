"""The table of narrowed fields, worked by hand."""

from __future__ import annotations

from benchmarks.field_widths import RUN_FILE, Narrowed, table


def test_a_line_has_the_share_kept_and_what_it_costs_on_each_split() -> None:
    found = Narrowed(
        seed=7, parameters=(2_000, 900), full={"valid": 0.98, "test": 0.97}, narrow={"valid": 0.9795, "test": 0.9706}
    )
    head, rule, line = table([found]).splitlines()
    assert head.count("|") == rule.count("|") == line.count("|") == 9
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "7", "2,000 to 900 (45.0%)", "0.98000", "0.97950", "-0.00050", "0.97000", "0.97060", "+0.00060",
    ]  # fmt: skip


def test_the_run_file_is_there() -> None:
    assert RUN_FILE.exists()
