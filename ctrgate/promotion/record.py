"""The record of a decision: a JSON file beside the run, the same in the registry, and the message."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrgate.files import write_json, writing
from ctrgate.masking import masked
from ctrgate.promotion.rules import Judged
from ctrgate.registry import Registry, Version

__all__ = ["FORMAT_VERSION", "figures", "keep", "plain", "shown", "verdict_tags", "write_up"]

FORMAT_VERSION = 1


def shown(version: Version | None) -> dict[str, Any] | None:
    """A version as the record names it; no path, as the same decision may be made in another folder."""
    if version is None:
        return None
    return {"version": version.version, "run": Path(version.run).name, "artifact": version.identity}


def keep(file: Path, record: Mapping[str, Any]) -> None:
    """Write a record where it differs from what is there."""
    clean = masked(record)
    try:
        same = json.loads(file.read_text(encoding="utf-8")) == clean
    except (OSError, ValueError):
        same = False
    if not same:
        with writing(file, setting="runs"):
            write_json(file, clean)


def verdict_tags(verdict: str, rules: Mapping[str, Judged], *, sentence: str | None) -> dict[str, str]:
    """A verdict as tags of a version: one for all, one per rule."""
    tags = {"ctrgate.verdict": verdict, "ctrgate.sentence": sentence or "the first model: nothing to compare with"}
    for name, rule in rules.items():
        tags[f"ctrgate.rule.{name}"] = f"{'holds' if rule.passed else 'fails'}: {rule.told}"
    return tags


def figures(rules: Mapping[str, Judged]) -> dict[str, float]:
    """The numbers that rules found, by ``rule/name``, for MLflow's charts; ``promoted`` is 1 or 0."""
    found = {
        f"{name}/{key}": float(value)
        for name, rule in rules.items()
        for key, value in rule.found.items()
        if isinstance(value, float | int) and not isinstance(value, bool)
    }
    return {**found, "promoted": float(all(rule.passed for rule in rules.values()))}


def write_up(
    registry: Registry, number: int, *, file: Path, rules: Mapping[str, Judged], tags: Mapping[str, str]
) -> None:
    """Put a verdict, its figures and its record into the registry, at a version and its run."""
    registry.tag(number, tags)
    registry.log(number, file=file, figures=figures(rules))


def plain(rules: Mapping[str, Judged]) -> dict[str, Any]:
    """Rules as JSON holds them."""
    return {name: dataclasses.asdict(rule) for name, rule in rules.items()}
