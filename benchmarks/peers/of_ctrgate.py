"""ctrgate's side of Frappe_x1: the published recipe as a run file, by the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers.side import tell
from benchmarks.speed.turns import Turn
from ctrgate import evaluate, prepare, train
from ctrgate.config import load
from ctrgate.features.prepared import Prepared
from ctrgate.progress import console

NAME = "ctrgate"
RUN_FILE = Path(__file__).parents[2] / "configs" / "experiments" / "frappe_final_mlp.yaml"


def _config(verb: type[Any], folder: Path) -> Any:
    console.quiet = True
    made = folder / "peers"
    changes = [f"runs={made}/runs", f"prepare.into={made}/ctrgate-frappe", "tracking.enabled=false"]
    return load(RUN_FILE, verb, [*changes, "train.restart=true"])


def frappe_train(folder: Path) -> Turn:
    """A run until valid AUC has not risen for two epochs, validation included."""
    prepare.run(_config(prepare.Config, folder))
    config = _config(train.Config, folder)

    def turn() -> int:
        epochs = train.run(config)["epochs"]
        tell(folder, NAME, epochs=epochs)
        return int(epochs * Prepared.open(config.prepare.folder(config.dataset)).num_rows("train"))

    return turn


def frappe_test(folder: Path) -> Turn:
    """AUC of the test rows by the best epoch of that run."""
    config = _config(evaluate.Config, folder)

    def turn() -> int:
        found = evaluate.run(config)["test"]
        tell(folder, NAME, test_auc=found["auc"]["value"])
        return int(found["num_rows"])

    return turn
