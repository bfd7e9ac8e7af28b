"""Training in several processes of this machine, without Ray."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import distributed as dist
from torch import multiprocessing

from ctrgate import train
from ctrgate.config import dump, load
from ctrgate.features.prepared import Prepared
from ctrgate.training.workers import Workers


def train_together(runs: Sequence[tuple[Path, Sequence[str]]], *, count: int) -> None:
    """Train the runs of run files with overrides, one after the other, in ``count`` processes."""
    for path, overrides in runs:
        config = load(path, train.Config, overrides)
        prepared = Prepared.open(config.prepare.folder(config.dataset), dataset=config.dataset)
        config.folder.begin(dump(config), seed=config.seed, prepared=prepared)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_one, args=([(str(path), list(o)) for path, o in runs], count, port), nprocs=count)


def _one(rank: int, runs: Sequence[tuple[str, Sequence[str]]], count: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count)
    try:
        for path, overrides in runs:
            train.work(dump(load(path, train.Config, overrides)), Workers(rank, count))
    finally:
        dist.destroy_process_group()
