"""What a promotion is judged by: a comparison with the champion, or, for the first model, its own evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ctrgate.artifact.manifest import identity
from ctrgate.errors import ConfigError, DataError
from ctrgate.files import checksum
from ctrgate.folders import is_artifact
from ctrgate.promotion.rules import Judged, Rules, judge, judge_alone

__all__ = ["Candidate", "Comparison", "Evaluation", "read_comparison", "read_evaluation"]

_FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model as a comparison may name it.

    Args:
        run: Its run's folder.
        identity: Of its artifact.
        step: Of the checkpoint in the artifact.
    """

    run: Path
    identity: str
    step: int

    def is_side(self, side: Mapping[str, Any]) -> bool:
        """Whether a side of a comparison is this model: the artifact by its identity, a run by folder and step."""
        if side["kind"] == "artifact":
            return bool(side["identity"] == self.identity)
        if side["kind"] != "run" or Path(side["place"]).resolve() != self.run.resolve():
            return False
        own = self.run / "artifact"
        unchanged = not is_artifact(own) or identity(own) == self.identity
        return bool(side["step"] == self.step) and unchanged


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A ``comparison.json``: A the champion, B the challenger."""

    file: Path
    sha256: str
    values: Mapping[str, Any]

    def judge(self, rules: Rules) -> dict[str, Judged]:
        """What the rules say of it.

        Raises:
            DataError: Where it lacks what they ask for.
        """
        return _reading(self.file, lambda: judge(rules, self.values), remedy="run ctrgate compare again")

    def to_json(self) -> dict[str, Any]:
        """What the record says of it; no folder, as the same decision may be made in another one."""
        return {"sha256": self.sha256, "sentence": self.values["sentence"], "rows": dict(self.values["rows"])}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A run's ``evaluation/test.json``, for the first model of all."""

    file: Path
    sha256: str
    calibration_ratio: float | None

    def judge(self, rules: Rules) -> dict[str, Judged]:
        """What the rules say of it."""
        return judge_alone(rules, calibration_ratio=self.calibration_ratio)

    def to_json(self) -> dict[str, Any]:
        """What the record says of it."""
        return {"sha256": self.sha256, "calibration_ratio": self.calibration_ratio}


def read_comparison(place: Path) -> Comparison:
    """A comparison, by its file or the folder of it.

    Raises:
        ConfigError: There is none, or it is of another format.
        DataError: It is damaged.
    """
    file = place / "comparison.json" if place.is_dir() else place
    if not file.is_file():
        raise ConfigError(f"promote.comparison: {file} does not exist; run ctrgate compare, it names what it wrote")

    def parts() -> Mapping[str, Any]:
        values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = values["format_version"]
        if version != _FORMAT:
            raise ConfigError(f"{file} has format {version!r}, this version reads {_FORMAT}; run ctrgate compare again")
        for side in (values["a"], values["b"]):
            _ = side["kind"], side["place"], side["identity"], side["step"]
        _ = values["sentence"], values["rows"]["split"]
        return values

    values = _reading(file, parts, remedy="run ctrgate compare again")
    return Comparison(file=file, sha256=checksum(file), values=values)


def read_evaluation(run: Path, *, step: int) -> Evaluation:
    """What ``ctrgate evaluate`` left of a run's test rows.

    Args:
        run: Its folder.
        step: Of the checkpoint that it must be of.

    Raises:
        ConfigError: There is none, or it is of another checkpoint.
        DataError: It is damaged, or is not about clicks.
    """
    file = run / "evaluation" / "test.json"
    if not file.is_file():
        raise ConfigError(f"{file} is missing, and the first model is judged by it; run ctrgate evaluate first")
    remedy = "run ctrgate evaluate again, or set promote.rules.calibration=null for a model that ranks items"

    def parts() -> tuple[int, float | None]:
        values = json.loads(file.read_text(encoding="utf-8"))
        return values["step"], values["calibration_ratio"]

    found, ratio = _reading(file, parts, remedy=remedy)
    if found != step:
        raise ConfigError(f"{file} is of step {found}, the artifact of step {step}; run ctrgate evaluate again")
    return Evaluation(file=file, sha256=checksum(file), calibration_ratio=ratio)


def _reading(file: Path, parts: Callable[[], T], *, remedy: str) -> T:
    try:
        return parts()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged or lacks a part ({type(error).__name__}: {error}); {remedy}") from error
