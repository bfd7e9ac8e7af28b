"""Search for settings on Ray Tune with ASHA, by the metric on valid alone; run again, it goes on or says it is done."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from rich.table import Table

from ctrgate.cluster.settings import ClusterConfig
from ctrgate.config import dump, settings, to_yaml
from ctrgate.errors import ArtifactError, ConfigError, CtrgateError, DataError, Interrupted
from ctrgate.features.prepared import Prepared
from ctrgate.files import atomic_file, locked, write_json, writing
from ctrgate.masking import masked
from ctrgate.models.plan import plan_inputs
from ctrgate.progress import console
from ctrgate.tracking import Tracker, TrackingConfig, flatten, open_tracker
from ctrgate.training.check import monitors
from ctrgate.training.runs import BESIDE, RunSettings
from ctrgate.tuning.journal import Journal
from ctrgate.tuning.plan import Trial, plan, trial_name
from ctrgate.tuning.report import document, shown
from ctrgate.tuning.results import Line, lines, write_best, write_tables
from ctrgate.tuning.search import Planned, Search
from ctrgate.tuning.settings import TuneSettings
from ctrgate.tuning.watch import Watch

__all__ = ["Config", "run"]

_FORMAT = 1
_TRACKING_URI = "CTRGATE_TRACKING_URI"
_SHOWN = 10


@settings
class _TrialConfig(RunSettings):
    """The sections of a trial: those that ``train`` reads."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the search and its trials are logged: one run with a child per trial."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Where trials run; each has ``cpus_per_worker`` cores."""


@settings
class Config(_TrialConfig):
    """The sections that ``tune`` reads."""

    tune: TuneSettings
    """What is searched, and how."""


def run(config: Config) -> dict[str, Any]:
    """Draw trials, train each under ``runs/NAME/trials``, and write what came of it to ``runs/NAME/tune``.

    Returns:
        The best trial with its value and settings, its run file, the page, and how many trials ended how; of a dry
        run, the trials' settings.

    Raises:
        ConfigError: Before anything is started, with every fault of the space; also where the folder holds another
            search.
        Interrupted: After Ctrl-C or SIGTERM, with the state saved.
        ClusterError: Where Ray cannot be started or was lost.
        DataError: Where no trial got as far as a value.
    """
    metric, larger = _metric(config)
    base = _base(config, metric=metric)
    folder = config.folder.path
    search = Search(
        name=config.name,
        folder=folder / "tune",
        trials=plan(base, config.tune, into=_TrialConfig),
        metric=metric,
        larger_is_better=larger,
        max_epochs=_max_epochs(config),
        settings=config.tune,
    )
    if config.tune.dry_run:
        place = config.prepare.folder(config.dataset)
        if place.is_dir():
            _check(Prepared.open(place, dataset=config.dataset), search.trials, metric=metric)
        else:
            console.print(f"{place} does not exist: whether networks fit the rows is not checked", markup=False)
        _print_trials(search.trials)
        return {"trials": {trial_name(trial.number): dict(trial.settings) for trial in search.trials}}
    prepared = Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
    _check(prepared, search.trials, metric=metric)
    with locked(folder.with_name(f".{folder.name}.tune.lock"), what=f"the search {folder / 'tune'}"):
        if config.tune.restart:
            for name in ("tune", "trials"):
                shutil.rmtree(folder / name, ignore_errors=True)
        _begin(config, base, metric=metric, encoder=prepared.manifest.encoder)
        return _go_on(config, search)


def _go_on(config: Config, search: Search) -> dict[str, Any]:
    """What is left of a search, and its results."""
    journal = Journal(search.folder / "journal.jsonl")
    left = [trial for trial in search.trials if not journal.of(trial.number).decided]
    if not left:
        console.print(
            f"all {len(search.trials)} trials are done; tune.trials may be raised, tune.restart=true begins anew"
        )
        return _results(config, search, journal)
    console.print(
        f"{search.name}: {len(search.trials)} trials, {len(left)} to run, {config.tune.parallel} at a time; chosen by "
        f"{search.metric} on valid, test is not looked at"
    )
    with _tracked(config, search.folder) as (tracker, parent):
        from ctrgate.cluster.tune import run_trials  # Ray, which is needed only here

        planned = [_planned(config, trial, parent=parent) for trial in left]
        watch = Watch(search, journal, tracker=tracker)
        try:
            run_trials(planned, search=search, journal=journal, cluster=config.cluster, on_end=watch.ended)
        except CtrgateError:
            if any(record.values for record in journal.records.values()):
                _results(config, search, journal)
            raise
        result = _results(config, search, journal)
        for name in ("index.html", "trials.csv", "best.yaml"):
            tracker.artifact(search.folder / name)
    return result


def _planned(config: Config, trial: Trial, *, parent: str) -> Planned:
    """A trial that is to run, with its run file written."""
    folder = config.folder.path / "trials" / trial_name(trial.number)
    values, environment = _run_file(config, trial, parent=parent)
    with writing(folder, setting="runs"), atomic_file(folder / "run.yaml") as temporary:
        temporary.write_text(to_yaml(values), encoding="utf-8")
    return Planned(
        number=trial.number,
        folder=folder,
        command=[sys.executable, "-m", "ctrgate", "train", str((folder / "run.yaml").resolve())],
        environment=environment,
        epochs_before=(values["select"] or {}).get("epochs", 0),
    )


def _metric(config: Config) -> tuple[str, bool]:
    """What is to be best, and whether it should be large."""
    known = monitors(config.model)
    metric: str = config.tune.metric or config.train.monitor or next(iter(known.keys()))
    if metric not in known:
        setting = "tune.metric" if config.tune.metric else "train.monitor"
        raise ConfigError(f"{setting}: {metric} is not measured here; use {', '.join(known)}")
    return metric, known[metric]


def _max_epochs(config: Config) -> int:
    return config.tune.max_epochs or config.train.epochs


def _base(config: Config, *, metric: str) -> dict[str, Any]:
    """The run file's values that every trial starts from."""
    if config.train.workers:
        raise ConfigError("train.workers: a trial is one process; set train.workers=0, and tune.parallel for more")
    base = dump(config)
    del base["tune"]
    base["train"] |= {"epochs": _max_epochs(config), "monitor": metric, "restart": False}
    return base


def _check(prepared: Prepared, trials: Sequence[Trial], *, metric: str) -> None:
    """That the data can decide, and that each trial's network fits it."""
    if not prepared.num_rows("valid"):
        raise ConfigError(f"{prepared.folder} has no valid rows, by which trials are chosen; give dataset.split some")
    if metric == "gauc" and not prepared.layout.roles.get("group"):
        raise ConfigError("tune.metric: gauc needs users; name their column in dataset.roles.group")
    found = []
    for trial in trials:
        config = TypeAdapter(_TrialConfig).validate_python(trial.values)
        try:
            plan_inputs(prepared.layout, config.tables, config.model.embeddings(prepared.layout))
        except ConfigError as error:
            drawn = ", ".join(f"{path}={shown(value)}" for path, value in trial.settings.items())
            found.append(f"  {drawn}: {error}")
    if found:
        raise ConfigError("trials do not fit the prepared data:\n" + "\n".join(found[:_SHOWN]))


def _begin(config: Config, base: Mapping[str, Any], *, metric: str, encoder: str) -> None:
    """Write what the search is, or see that the one in its folder is the same."""
    path = config.folder.path / "tune" / "search.json"
    tune = dump(config)["tune"]
    search = {
        "format": _FORMAT,
        "encoder": encoder,
        "tune": {
            **{name: tune[name] for name in ("space", "seed", "asha")},
            "metric": metric,
            "max_epochs": _max_epochs(config),
        },
        "run": {name: values for name, values in base.items() if name not in BESIDE},
    }
    if not path.exists():
        write_json(path, search)
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged ({error}); set tune.restart=true") from error
    ours, theirs = flatten(search), flatten(known)
    differing = [name.removeprefix("run.") for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise ConfigError(
            f"{path.parent} holds another search ({', '.join(differing[:5])}{more} differ); choose another name, or "
            "set tune.restart=true to throw that one away"
        )


def _run_file(config: Config, trial: Trial, *, parent: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A trial's run file, and what its process finds in the environment: a password stands in no file."""
    values = {**trial.values, "name": f"{config.name}/trials/{trial_name(trial.number)}"}
    values["tracking"] = _public(config.tracking)
    if parent:
        values["tracking"]["parent"] = parent
    return values, {_TRACKING_URI: config.tracking.uri}


def _public(tracking: TrackingConfig) -> dict[str, Any]:
    """The section, with a URI that holds a secret left to the environment."""
    values = dump(tracking)
    if masked(tracking.uri) != tracking.uri:
        values["uri"] = f"${{{_TRACKING_URI}}}"
    return values


@contextmanager
def _tracked(config: Config, folder: Path) -> Iterator[tuple[Tracker, str]]:
    """The search's own run in MLflow, and what its trials call it by."""
    tracker = open_tracker(config.tracking, folder=folder)
    params = dump(config)
    params["tracking"] = masked(params["tracking"])
    tracker.start(run_name=config.name, params=params, tags={"ctrgate.dataset": config.dataset.name}, resume=True)
    file = folder / "mlflow_run.json"
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    parent = json.loads(file.read_text(encoding="utf-8"))["run"] if config.tracking.enabled else ""
    try:
        yield tracker, parent
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)


def _results(config: Config, search: Search, journal: Journal) -> dict[str, Any]:
    """Write tables, the best run file and the page."""
    folder, metric, found = search.folder, search.metric, lines(search, journal)
    best = found[0]
    if best.value is None:
        raise DataError(f"no trial ended an epoch; trial {trial_name(best.trial)} said: {best.reason or 'nothing'}")
    write_tables(search, found)
    values = {**search.trials[best.trial].values, "name": f"{search.name}_best", "tracking": _public(config.tracking)}
    write_best(folder / "best.yaml", values, line=best, metric=metric)
    with atomic_file(folder / "index.html") as temporary:
        temporary.write_text(document(search, found), encoding="utf-8")
    _print_found(found, metric=metric)
    console.print(
        f"{folder / 'best.yaml'} is the best trial's run file; {folder / 'index.html'} shows all", markup=False
    )
    states = [line.state for line in found]
    return {
        "best": {
            "trial": trial_name(best.trial),
            "metric": metric,
            "value": best.value,
            "epoch": best.epoch,
            "settings": dict(best.settings),
            "folder": str(config.folder.path / "trials" / trial_name(best.trial)),
        },
        "run_file": str(folder / "best.yaml"),
        "report": str(folder / "index.html"),
        "trials": {state: states.count(state) for state in sorted(set(states))},
    }


def _print_trials(trials: Sequence[Trial]) -> None:
    table = Table("trial", *_short(trials[0].settings))
    for trial in trials:
        table.add_row(trial_name(trial.number), *(shown(value) for value in trial.settings.values()))
    console.print(table)


def _print_found(found: Sequence[Line], *, metric: str) -> None:
    table = Table("trial", f"valid {metric}", "epochs", "state", *_short(found[0].settings))
    for line in found[:_SHOWN]:
        value = "" if line.value is None else f"{line.value:.5f}"
        drawn = (shown(setting) for setting in line.settings.values())
        table.add_row(trial_name(line.trial), value, str(len(line.curve)), line.state, *drawn)
    console.print(table)


def _short(paths: Iterable[str]) -> list[str]:
    """The last part of each path, or the whole of those whose last parts are the same."""
    last = [path.rpartition(".")[2] for path in paths]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]
