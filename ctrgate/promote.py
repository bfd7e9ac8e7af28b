"""Make a run the champion where the rules say so: judged, recorded, registered, and only then put in service."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrgate.artifact.manifest import Manifest, identity
from ctrgate.config import dump, settings
from ctrgate.errors import ConfigError, HeldBackError
from ctrgate.files import locked
from ctrgate.progress import console
from ctrgate.promotion.evidence import Candidate, Comparison, Evaluation, read_comparison, read_evaluation
from ctrgate.promotion.record import FORMAT_VERSION, keep, plain, shown, verdict_tags, write_up
from ctrgate.promotion.rules import Judged
from ctrgate.promotion.settings import PromoteSettings, RegistrySettings
from ctrgate.registry import REFIT_OF, Registry, Version, answering
from ctrgate.succession import Move, append, last_of, moves_of, project, settle, turn

__all__ = ["Config", "run"]

RECORD = "promotion.json"


@settings
class Config(RegistrySettings):
    """The sections that ``promote`` reads."""


def run(config: Config) -> dict[str, Any]:
    """Judge the run's artifact, write ``RUNS/NAME/promotion.json``, and make it champion where all rules hold.

    It may be stopped anywhere and run again, and ends the same. Run again once it is done, it changes nothing.

    Returns:
        The record's file, verdict, the model's name, and the numbers of version, champion and previous champion.

    Raises:
        HeldBackError: Where a rule does not hold, or another version has become champion meanwhile.
        ConfigError: No artifact, no comparison with the champion, or a store that does not answer.
        ArtifactError: Where the artifact is damaged.
    """
    home = Path(config.runs) / config.name
    artifact = home / "artifact"
    manifest = Manifest.read(artifact)
    with locked(home / ".promotion.lock", what=f"the promotion of {home}"), answering(config.tracking):
        registry = Registry(config.tracking, model=config.model)
        candidate = Candidate(run=home, identity=identity(artifact), step=manifest.origin.step)
        return _Promotion(registry=registry, candidate=candidate, how=config.promote, manifest=manifest).run()


@dataclass(frozen=True, kw_only=True)
class _Promotion:
    """One challenger on its way."""

    registry: Registry
    candidate: Candidate
    how: PromoteSettings
    manifest: Manifest

    @property
    def file(self) -> Path:
        """The record."""
        return self.candidate.run / RECORD

    def run(self) -> dict[str, Any]:
        """Do what is still to be done."""
        given = read_comparison(Path(self.how.comparison)) if self.how.comparison else None
        token = _token(self.candidate.identity, given, self.how)
        with turn(self.registry):
            settle(self.registry)
        versions = self.registry.versions()
        known = next((each for each in versions if each.identity == self.candidate.identity), None)
        champion = next((each for each in versions if "champion" in each.aliases), None)
        if known is not None and (
            known == champion or last_of(moves_of(self.registry), to=known.version, token=token) is not None
        ):
            return self._again(known, champion)
        rules = self._judged(given, champion, versions=versions)
        version = self.registry.register(run=self.candidate.run, artifact=self.candidate.run / "artifact")
        if all(rule.passed for rule in rules.values()):
            self.registry.copy(version, artifact=self.candidate.run / "artifact")
            self._write(version, rules, given=given, champion=champion)
            if self._move(version, champion, token=token):
                return self._done(version, champion, given=given)
            now = self.registry.named("champion")
            rules = {**rules, "champion": _of_champion(champion, now)}
        self._write(version, rules, given=given, champion=champion)
        if (now := self.registry.named("champion")) is None or now.version != version.version:
            self.registry.point("challenger", version.version)
        failed = "\n".join(f"  {name}: {rule.told}" for name, rule in rules.items() if not rule.passed)
        raise HeldBackError(
            f"{self.candidate.run} is held back as version {version.version} of {self.registry.model}; the champion "
            f"stays {_named(now)}:\n{failed}\nAll figures are in {self.file}."
        )

    def _judged(
        self, given: Comparison | None, champion: Version | None, *, versions: Sequence[Version]
    ) -> dict[str, Judged]:
        """What every rule that is on says, and whether the comparison is with the champion."""
        rules = {"parity": self._parity()} if self.how.rules.parity else {}
        if self.how.refit_of:
            return {**rules, "champion": _of_champion(self._origin(versions), champion)}
        if given is None:
            alone = self._alone(champion)
            return rules if alone is None else {**rules, **alone.judge(self.how.rules)}
        compared = self._compared(given, champion, versions=versions)
        return {**rules, **given.judge(self.how.rules), "champion": _of_champion(compared, champion)}

    def _origin(self, versions: Sequence[Version]) -> Version:
        """The version that the run is a refit of."""
        found = [each for each in versions if Path(each.run).resolve() == Path(self.how.refit_of).resolve()]
        if not found:
            raise ConfigError(
                f"promote.refit_of: {self.how.refit_of} is the run of no version of {self.registry.model}"
            )
        return found[-1]

    def _alone(self, champion: Version | None) -> Evaluation | None:
        """The run's own evaluation, which is enough for the first model."""
        if champion is not None:
            raise ConfigError(
                f"{self.registry.model} has a champion, {_named(champion)}: compare with it (ctrgate compare RUN.yaml "
                f"compare.against={champion.artifact}) and name what that writes in promote.comparison"
            )
        if self.how.rules.calibration is None:
            return None
        return read_evaluation(self.candidate.run, step=self.candidate.step)

    def _compared(self, given: Comparison, champion: Version | None, *, versions: Sequence[Version]) -> Version:
        """The version that the run was compared with: the champion, or one that it may have been before."""
        model = self.registry.model
        if not self.candidate.is_side(given.values["b"]):
            raise ConfigError(_other(given, "b", f"{self.candidate.run} as it was exported"))
        if champion is None:
            raise ConfigError(
                f"{model} has no champion yet, so there is nothing to compare with; drop promote.comparison"
            )
        found = [each for each in versions if _candidate(each).is_side(given.values["a"])]
        if not found:
            wanted = f"the champion of {model}, {_named(champion)} ({champion.artifact})"
            raise ConfigError(_other(given, "a", wanted))
        return found[0]

    def _parity(self) -> Judged:
        """Whether the artifact gives its golden rows the logits of the checkpoint, here and now."""
        from ctrgate.artifact.bundle import Artifact  # torch, which all other rules do without

        difference = Artifact.load(self.candidate.run / "artifact", replay=False).golden_difference()
        limit = self.manifest.tolerance
        told = (
            f"the golden rows' logits differ by {difference:.3g} from those of the export; at most {limit:g} is allowed"
        )
        found = {"difference": float(difference) if math.isfinite(difference) else None}
        return Judged(limit={"tolerance": limit}, found=found, passed=bool(difference <= limit), told=told)

    def _write(
        self, version: Version, rules: Mapping[str, Judged], *, given: Comparison | None, champion: Version | None
    ) -> None:
        """The record, beside the run and in the registry."""
        promoted = all(rule.passed for rule in rules.values())
        verdict = "promoted" if promoted else "held"
        sentence = None if given is None else str(given.values["sentence"])
        refit: dict[str, str] = {}
        if self.how.refit_of:
            origin = self._origin(self.registry.versions())
            sentence = f"a refit of {_named(origin)} on later rows, not compared"
            refit = {REFIT_OF: str(origin.version)}
        record = {
            "format_version": FORMAT_VERSION,
            "verdict": verdict,
            "model": self.registry.model,
            "run": self.candidate.run.name,
            "artifact": self.candidate.identity,
            "version": version.version,
            "champion_before": shown(champion),
            "champion_after": shown(version if promoted else self.registry.named("champion")),
            "sentence": sentence,
            "comparison": None if given is None else given.to_json(),
            "rules": plain(rules),
        }
        keep(self.file, record)
        write_up(
            self.registry,
            version.version,
            file=self.file,
            rules=rules,
            tags={**verdict_tags(verdict, rules, sentence=sentence), **refit},
        )

    def _move(self, version: Version, champion: Version | None, *, token: str) -> bool:
        """Put the version in service, unless another has come before it."""
        before = None if champion is None else champion.version
        with turn(self.registry):
            settle(self.registry)
            won = append(
                self.registry,
                Move(kind="promotion", start=before, to=version.version, previous=before, token=token),
            )
            project(self.registry)
            now = self.registry.aliases().get("champion")
        return won or now == version.version

    def _again(self, version: Version, champion: Version | None) -> dict[str, Any]:
        state = "is the champion" if version == champion else f"was promoted before; the champion is {_named(champion)}"
        console.print(f"{_named(version)} of {self.registry.model} {state}; nothing is changed", markup=False)
        return self._result(version, changed=False)

    def _done(self, version: Version, before: Version | None, *, given: Comparison | None) -> dict[str, Any]:
        text = f"{_named(version)} of {self.registry.model} is the champion, in place of {_named(before)}"
        console.print(text if given is None else f"{text}. {given.values['sentence']}", markup=False)
        return self._result(version, changed=True)

    def _result(self, version: Version, *, changed: bool) -> dict[str, Any]:
        aliases = self.registry.aliases()
        return {
            "promotion": str(self.file),
            "verdict": "promoted",
            "model": self.registry.model,
            "version": version.version,
            "champion": aliases.get("champion"),
            "previous": aliases.get("previous"),
            "changed": changed,
        }


def _token(artifact: str, given: Comparison | None, how: PromoteSettings) -> str:
    """What is judged by what, in short."""
    parts = [artifact, None if given is None else given.sha256, dump(how.rules), how.refit_of]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _candidate(version: Version) -> Candidate:
    return Candidate(run=Path(version.run), identity=version.identity, step=version.step)


def _of_champion(compared: Version | None, now: Version | None) -> Judged:
    """Whether the one that was compared with, or of which it is a refit, is the champion still, or the champion's
    origin where that is a refit itself."""
    told = f"it was compared with {_named(compared)}, and the champion is {_named(now)}; compare with that"
    passed = compared == now if compared is None or now is None else compared.version in (now.version, now.refit_of)
    return Judged(limit={"champion": _named(now)}, found={"compared": _named(compared)}, passed=passed, told=told)


def _named(version: Version | None) -> str:
    return "none" if version is None else f"version {version.version} (run {Path(version.run).name})"


def _other(given: Comparison, side: str, wanted: str) -> str:
    of = given.values[side]
    return (
        f"{given.file}: {side.upper()} is the {of['kind']} {of['place']}, step {of['step']}, not {wanted}; "
        "run ctrgate compare again"
    )
