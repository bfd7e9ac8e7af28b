"""Tables and network as one model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ctrgate.contracts import Batch, Fields, Lookup, Output
from ctrgate.features.layout import Layout
from ctrgate.lookups.collection import Lookups
from ctrgate.models.network import Network, NetworkConfig
from ctrgate.models.plan import plan_inputs
from ctrgate.models.tables import FusedRule, TablesConfig
from ctrgate.training.selection import SelectConfig, ValueGates

__all__ = ["CANDIDATES", "CtrModel", "build_model"]

CANDIDATES, ITEMS = "candidates:drawn", "items"
"""The column of a batch with the items that a loss has drawn for each row, which is a sequence of the same name in
``Fields`` (no feature's name holds a colon), and that sequence's one member."""


class CtrModel(nn.Module):
    """``Batch -> Output``: lookups, then the network.

    Args:
        lookups: The tables.
        network: What stands above them.
        gates: Factors of single values, before the lookups; None without feature selection.
        precision: ``bf16`` runs the network under autocast; rows and logits stay fp32.
        with_squares: Whether training wants the sum of squares of looked-up vectors; it is 0 otherwise.
    """

    def __init__(
        self,
        lookups: Lookups,
        network: Network,
        *,
        gates: ValueGates | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        with_squares: bool = True,
    ) -> None:
        super().__init__()
        self.lookups = lookups
        self.network = network
        self.gates = gates
        self.precision = precision
        self._with_squares = with_squares
        self._compiled: tuple[int, Callable[[Fields], Output]] | None = None

    @property
    def device(self) -> torch.device:
        """Where its tables are, and batches have to be."""
        return self.lookups.device

    @property
    def num_parameters(self) -> int:
        """Numbers that training moves: tables at their logical width, and the network; value gates not counted."""
        tables = sum(spec.num_rows * spec.dim for spec in self.lookups.specs)
        return tables + sum(parameter.numel() for parameter in self.network.parameters())

    def compile_for(self, num_rows: int) -> None:
        """Compile the network (torch.compile) for training on batches of this many rows, when the first one comes.

        Batches of other sizes, an epoch's last and those of evaluation, run as ever: a compiled network is one of
        fixed shapes, and each further shape would be compiled again.

        A GPU replays the compiled network as a CUDA graph: otherwise it waits for the processor to start each kernel.
        """
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self._compiled = num_rows, torch.compile(self.network, dynamic=False, mode=mode)

    def _network_for(self, batch: Batch) -> Callable[[Fields], Output]:
        if self._compiled is not None and self.training and batch.num_rows == self._compiled[0]:
            return self._compiled[1]
        return self.network

    def forward(self, batch: Batch) -> tuple[Output, Tensor]:
        """The output, and the sum of squares of all looked-up vectors (for L2 on them)."""
        fields = self.lookups(batch if self.gates is None else self.gates(batch))
        squares = batch.numbers.new_zeros(())
        if self.training and self._with_squares:
            squares = sum((rows.square().sum() for rows in fields.rows.values()), start=squares)
        device = batch.numbers.device.type
        context = torch.autocast(device, dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with context:
            output = self._network_for(batch)(fields)
        drawn = fields.sequences.get(CANDIDATES)
        return (output if drawn is None else replace(output, candidates=drawn[ITEMS])), squares


def build_model(
    config: NetworkConfig,
    *,
    layout: Layout,
    tables: TablesConfig,
    seed: int,
    select: SelectConfig | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    candidates: tuple[str, int] | None = None,
    sharded: bool = False,
    device: torch.device | None = None,
) -> CtrModel:
    """The model of a run, at its start; the seed decides every weight.

    Args:
        config: The network.
        layout: The encoded columns.
        tables: The tables' rule, width and start.
        seed: Decides the start.
        select: The search for values, where there is one.
        precision: Of the network.
        candidates: The table of the items that a loss draws and compares queries with, and how many at most per row;
            batches then bring them in the column ``CANDIDATES``.
        sharded: Whether fused tables are still to be spread over processes (see ``Lookups``).
        device: Where it is to be; the start is drawn by the processor anywhere. None for the processor.

    Raises:
        ConfigError: Where the settings do not fit the layout.
    """
    inputs = plan_inputs(layout, tables, config.embeddings(layout))
    rule = tables.rule if isinstance(tables.rule, FusedRule) else FusedRule()
    lookups = Lookups(
        inputs.tables,
        inputs.lookups + (() if candidates is None else (_candidates(*candidates),)),
        fused={"lr": rule.learning_rate, "eps": rule.eps},
        seed=seed,
        dropout=tables.dropout,
        device=device,
        gated=select is not None,
        sharded=sharded,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config, inputs=inputs)
    gates = ValueGates(select, layout=layout) if select is not None else None
    model = CtrModel(lookups, network, gates=gates, precision=precision, with_squares=rule.l2 > 0)
    for part in (network, *([gates] if gates is not None else [])):
        part.to(model.device)
    return model


def _candidates(table: str, most: int) -> Lookup:
    return Lookup(
        name=f"{CANDIDATES}/{ITEMS}",
        column=CANDIDATES,
        table=table,
        pooling="none",
        sequence=CANDIDATES,
        max_length=most,
        for_loss=True,
    )
