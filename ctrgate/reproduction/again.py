"""A run done again from its raw files, verb by verb as processes, and what came out beside what the run has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctrgate.comparison.reading import read_side
from ctrgate.comparison.rows import HeldOut, open_rows
from ctrgate.config import to_yaml
from ctrgate.errors import ConfigError, CtrgateError, Interrupted
from ctrgate.features.prepared import Prepared
from ctrgate.files import atomic_file, write_json
from ctrgate.progress import console
from ctrgate.reproduction.original import Original, differences
from ctrgate.reproduction.outcome import logits_compared, verdict
from ctrgate.reproduction.settings import ReproduceSettings
from ctrgate.stage import run_as_process
from ctrgate.training.checkpoint import weights_checksum
from ctrgate.training.runs import RunFolder
from ctrgate.training.surroundings import surroundings

__all__ = ["FORMAT_VERSION", "StageFailed", "begin", "reproduced", "run_stage"]

FORMAT_VERSION = 1


class StageFailed(CtrgateError):  # noqa: N818 as it is the stage's error, told by itself already
    """A verb ended with another exit code than 0, which is this error's too."""

    def __init__(self, verb: str, *, exit_code: int) -> None:
        super().__init__(f"ctrgate {verb} ended with exit code {exit_code}, see above; once mended, run this again")
        self.exit_code = exit_code


def begin(original: Original, home: Path, *, restart: bool) -> None:
    """An empty folder, or what was begun of this very run."""
    key = original.key()
    known = home / "of.json"
    begun = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else None
    if home.exists() and (restart or begun != key):
        if begun is not None and not restart:
            console.print(f"{original.folder.path} was trained anew since {home} was begun: beginning again")
        shutil.rmtree(home)
    write_json(known, key)
    with atomic_file(home / "run.yaml") as temporary:
        temporary.write_text(to_yaml(original.run_file(home)), encoding="utf-8")


def reproduced(original: Original, home: Path, *, chosen: ReproduceSettings) -> dict[str, Any]:
    """Everything that reproduction.json holds but the sentence."""
    run_file, recorded = home / "run.yaml", original.environment
    apart = differences(recorded, {**surroundings(), "threads": recorded["threads"]})  # those of a process to come
    for name, of in apart.items():
        console.print(f"{name}: {of['here']} here, {of['run']} when the run was trained", markup=False)
    run_stage("prepare", run_file)
    prepared = Prepared.open(home / "prepared", dataset=original.settings.dataset)
    original.check_prepared(prepared)
    split: HeldOut = chosen.split or ("test" if prepared.num_rows("test") else "valid")
    encoder = {"run": recorded["encoder"], "reproduction": prepared.manifest.encoder}
    result: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "run": str(original.folder.path),
        "seed": original.settings.seed,
        "sources": recorded["sources"],
        "encoder": encoder,
        "split": split,
        "which": chosen.which,
        "level": chosen.level,
    }
    if encoder["run"] != encoder["reproduction"]:
        return {**result, "environment": apart, "verdict": "other encoder", "labels": {}}
    if not prepared.num_rows(split):
        raise ConfigError(f"{prepared.folder} has no {split} rows, it has {', '.join(prepared.manifest.splits)}")
    threads = {}
    if chosen.threads == "run" and not original.settings.train.workers:  # Ray gives its workers threads of its own
        threads["OMP_NUM_THREADS"] = str(recorded["threads"])
    run_stage("train", run_file, environment=threads)
    evaluated = [f'evaluate.splits=["{split}"]', f"evaluate.which={chosen.which}"]
    run_stage("evaluate", run_file, overrides=evaluated, environment=threads)
    again = RunFolder(home / "run")
    labels = _labels(original.folder.path, again.path, names=prepared.layout.labels, split=split, chosen=chosen)
    here = again.environment()
    then, now = original.folder.checkpoints.find(chosen.which), again.checkpoints.find(chosen.which)
    return {
        **result,
        "environment": differences(recorded, here),
        "weights_identical": None if then is None or now is None else weights_checksum(then) == weights_checksum(now),
        "num_rows": prepared.num_rows(split),
        "labels": labels,
        "verdict": verdict(labels),
    }


def run_stage(
    verb: str, run_file: Path, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> None:
    """Run a verb and let what stopped it stop this one.

    Raises:
        StageFailed: Where it fails.
        Interrupted: After Ctrl-C or SIGTERM, once it has ended.
    """
    ended = run_as_process(verb, run_file, overrides=overrides, environment=environment)
    if ended.signal_number is not None:
        raise Interrupted(f"stopped at {verb}; the same command goes on from there", signal_number=ended.signal_number)
    if ended.exit_code:
        raise StageFailed(verb, exit_code=ended.exit_code)


def _labels(
    run: Path, again: Path, *, names: tuple[str, ...], split: HeldOut, chosen: ReproduceSettings
) -> dict[str, dict[str, Any]]:
    """By label what both say of the same rows, which the run's evaluation is seen to be of."""
    found = {}
    for name in names:
        rows = open_rows(again, split=split, label=name)
        sides = [read_side(place, rows, which=chosen.which, setting="name") for place in (run, again)]
        found[name] = logits_compared(rows, sides[0].logits, sides[1].logits, level=chosen.level)
    return found
