"""What MLflow holds after train, evaluate and export: one run with settings, metrics, figures and the artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from ctrgate import evaluate, export, train
from ctrgate.config import load
from ctrgate.training import loop


def test_one_mlflow_run_holds_what_the_verbs_made(write_run: Callable[..., Path], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    path = write_run(tracking={"uri": uri, "artifacts": str(tmp_path / "artifacts")})
    summary = train.run(load(path, train.Config))
    measured = evaluate.run(load(path, evaluate.Config))
    exported = export.run(load(path, export.Config, ["export.log=true"]))

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ctrgate")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.name"] == "final_mlp"
    assert run.data.params["train.learning_rate"] == "0.01"
    history = client.get_metric_history(run.info.run_id, "valid/auc")
    steps = [line["step"] for line in load(path, train.Config).folder.metrics()]
    assert sorted({point.step for point in history}) == sorted({*steps, summary["best_step"]})
    assert run.data.metrics["test/auc"] == pytest.approx(measured["test"]["auc"]["value"])

    def files(folder: str = "") -> set[str]:
        found = client.list_artifacts(run.info.run_id, folder)
        return {name for item in found for name in (files(item.path) if item.is_dir else {item.path})}

    written = yaml.safe_load(Path(client.download_artifacts(run.info.run_id, "config.yaml")).read_text())
    assert written["model"]["name"] == "final_mlp"  # evaluate and export have added to the run and left it
    kept = f"model/{exported['identity'][:12]}/artifact"
    assert {
        "config.yaml",
        "figures/learning_curve.png",
        "figures/test_roc.png",
        "figures/test_calibration.png",
        f"{kept}/manifest.json",
        f"{kept}/tables.safetensors",
    } <= files()


def test_a_training_killed_before_its_first_checkpoint_and_after_its_last_is_one_run_that_ends(
    write_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    path = write_run(tracking={"uri": uri, "artifacts": str(tmp_path / "artifacts")})

    def killed(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    for where, name in ((loop.Fit, "step"), (train, "learning_curve")):
        with monkeypatch.context() as patched:
            patched.setattr(where, name, killed)
            with pytest.raises(KeyboardInterrupt):
                train.run(load(path, train.Config))
    config = load(path, train.Config)
    assert config.folder.checkpoints.progress().finished
    train.run(config)

    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("ctrgate").experiment_id])
    assert run.info.status == "FINISHED"
    steps = {point.step for point in client.get_metric_history(run.info.run_id, "valid/auc")}
    assert steps == {line["step"] for line in config.folder.metrics()}
    assert [item.path for item in client.list_artifacts(run.info.run_id, "figures")] == ["figures/learning_curve.png"]
