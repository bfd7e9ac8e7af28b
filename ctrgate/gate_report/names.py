"""Which gates belong together, and what gates and layers are called on a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "Gate",
    "families",
    "file_name",
    "is_mapped",
    "kind_in_words",
    "layer_names",
    "scaling_and_choosing",
    "short_name",
]

Gate = Mapping[str, Any]
"""What ``evaluation/gates.json`` says of one."""


def scaling_and_choosing(gates: Sequence[Gate]) -> tuple[list[Gate], list[Gate]]:
    """Gates that scale, and gates that choose experts."""
    return [gate for gate in gates if gate["slot"] != "expert"], [gate for gate in gates if gate["slot"] == "expert"]


def families(gates: Sequence[Gate]) -> list[list[Gate]]:
    """Gates that know fields, those together whose names differ in numbers alone."""
    found: dict[tuple[str, str], list[Gate]] = {}
    for gate in gates:
        if "fields" in gate:
            found.setdefault((gate["kind"], re.sub(r"\d+", "*", gate["name"])), []).append(gate)
    return list(found.values())


def is_mapped(family: Sequence[Gate]) -> bool:
    """Whether a family is shown as one map of layers by fields; two gates are told apart better by their bars."""
    return len(family) > 2


def layer_names(modules: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> list[str]:
    """What tells some modules apart; of cross layers the order of their products."""
    crossing = {layer["name"] for layer in report["cross"]}
    names = [module["name"].removesuffix(".gate") for module in modules]
    differing = [parts for parts in zip(*(name.split(".") for name in names), strict=True) if len(set(parts)) > 1]
    apart = [list(parts) for parts in zip(*differing, strict=True)] or [[] for _ in names]
    labels = []
    for name, parts in zip(names, apart, strict=True):
        last = name.rpartition(".")[2]
        if name in crossing and last.isdigit():
            labels.append(", ".join([*(f"part {int(part) + 1}" for part in parts[:-1]), f"order {int(last) + 2}"]))
        else:
            labels.append(", ".join(f"layer {int(part) + 1}" if part.isdigit() else part for part in parts) or last)
    return labels


def short_name(module: Mapping[str, Any]) -> str:
    """Where it stands in the network."""
    return str(module["name"]).removeprefix("body.")


def kind_in_words(kind: str) -> str:
    """``ContextGate`` as "Context gate"."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f" {found[0].lower()}", kind)


def file_name(name: str) -> str:
    """Words as the name of a file."""
    return re.sub(r"\W+", "_", name.lower())
