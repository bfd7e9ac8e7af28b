"""What the gates of a network do on rows: statistics by coordinate, field, expert and segment, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctrgate.contracts import Fields
from ctrgate.errors import DataError
from ctrgate.layers.cross import GatedCross, MatrixCross
from ctrgate.models.inputs import Inputs
from ctrgate.training.expert_statistics import ExpertStatistics
from ctrgate.training.gate_segments import Floats, Places, Segment, membership
from ctrgate.training.gate_statistics import FactorStatistics, SequenceStatistics

__all__ = ["GateObserver", "has_gates", "observe"]

_ROWS_AT_ONCE, _HISTORIES_AT_ONCE = 4_096, 256  # bound the float64 copies of wide factors


@contextmanager
def observe(
    network: nn.Module, *, inputs: Inputs, segments: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[GateObserver]:
    """Watch every gate of a network while it answers rows; its answers stay what they are.

    Gates are the modules with a ``slot`` that choose experts (slot ``expert``), which are read from what they return,
    or have a method ``factor``, and are read where it computes theirs. Gates of single values (slot ``value``) stand
    before the network and are left out.

    A factor as wide as the embedding is told by field. A module says by ``gates_of_units()`` which of its gates scale
    hidden units, whose equal width would not make them fields.

    Args:
        network: ``Fields -> Output``, in evaluation mode.
        inputs: What the network was built with; tells which coordinates are which field's.
        segments: Per segment column the value of each row that the network will see, in that order.
    """
    observer = GateObserver(network, inputs=inputs, segments=segments or {})
    with ExitStack() as restoring:
        restoring.callback(network.register_forward_pre_hook(observer.begin).remove)
        for module in network.modules():
            restoring.callback(module.register_forward_pre_hook(observer.note_mask).remove)
        for name, gate in _gates(network):
            if gate.slot == "expert":
                restoring.callback(gate.register_forward_hook(partial(observer.see_weights, name)).remove)
            else:
                restoring.enter_context(_telling(gate, partial(observer.see_factor, name)))
        yield observer


def has_gates(network: nn.Module) -> bool:
    """Whether there is something to observe."""
    return next(_gates(network), None) is not None


class GateObserver:
    """Statistics that grow with the number of coordinates, not of rows; ``observe`` makes it, of the same arguments."""

    def __init__(self, network: nn.Module, *, inputs: Inputs, segments: Mapping[str, NDArray[Any]]) -> None:
        self.num_rows = 0
        self.factors: dict[str, FactorStatistics] = {}
        self.experts: dict[str, ExpertStatistics] = {}
        self._network, self._inputs = network, inputs
        self._segments = {name: Segment(values) for name, values in segments.items()}
        self._of_units = _gates_of_units(network)
        of_modules = network.named_modules()
        self._newest_first = tuple(f"{name}." for name, module in of_modules if getattr(module, "newest_first", False))
        self._batch = slice(0, 0)
        self._mask: Tensor | None = None

    def note_mask(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Remember which events the modules called now are told to be real, ``(B, T)``, padded on the right."""
        for argument in arguments:
            if isinstance(argument, Tensor) and argument.dtype == torch.bool and argument.ndim == 2:
                self._mask = argument

    def begin(self, _: nn.Module, arguments: tuple[Fields]) -> None:
        """Note the rows of the batch that comes now.

        Raises:
            ValueError: Where more rows come than the segments tell of.
        """
        num_rows = arguments[0].numbers.size(0)
        self._batch = slice(self.num_rows, self.num_rows + num_rows)
        self.num_rows += num_rows
        for name, segment in self._segments.items():
            if self.num_rows > len(segment.codes):
                raise ValueError(f"segment {name!r} tells of {len(segment.codes)} rows; row {self.num_rows} came")

    def see_factor(self, name: str, gate: nn.Module, factor: Tensor) -> None:
        """Take up a factor that a gate computed, of one row or of all, or of the events of histories."""
        mask, by_event = self._mask, gate.slot == "sequence" or gate in self._of_units
        if by_event and factor.ndim >= 3 and mask is not None and factor.shape[:2] == mask.shape:
            self._see_events(name, gate, factor, mask)
            return
        if name not in self.factors:
            shape = tuple(factor.shape[1:])
            owners = None if gate in self._of_units else _owners(shape, inputs=self._inputs)
            self.factors[name] = FactorStatistics(gate, math.prod(shape), owners=owners, segments=self._segments)
        self._in_parts(factor.reshape(factor.shape[0] if factor.ndim else 1, -1), self.factors[name].add)

    def _see_events(self, name: str, gate: nn.Module, factor: Tensor, mask: Tensor) -> None:
        if name not in self.factors:
            self.factors[name] = SequenceStatistics(gate, math.prod(factor.shape[2:]))
        place = torch.arange(mask.size(1), device=mask.device).expand_as(mask)
        if name.startswith(self._newest_first):  # behind what is shown, which is no event
            to_end, mask = place - 1, mask & (place > 0)
        else:
            to_end = mask.sum(dim=1, keepdim=True) - 1 - place
        statistics = self.factors[name]
        assert isinstance(statistics, SequenceStatistics)
        for start in range(0, len(mask), _HISTORIES_AT_ONCE):
            part = slice(start, start + _HISTORIES_AT_ONCE)
            events = factor.detach()[part][mask[part]].flatten(1).to("cpu", torch.float64).numpy()
            if len(events):
                statistics.add_events(events, to_end[part][mask[part]].cpu().numpy())

    def see_weights(self, name: str, gate: nn.Module, _: Any, output: tuple[Tensor, Any]) -> None:
        """Take up what an expert gate gave: weights or factors ``(B, K)``, and terms."""
        if name not in self.experts:
            shares = bool(getattr(gate, "shares", True))
            self.experts[name] = ExpertStatistics(output[0].size(1), segments=self._segments, shares=shares)
        self._in_parts(output[0], self.experts[name].add)

    def _in_parts(self, values: Tensor, add: Callable[[Floats, dict[str, Places]], None]) -> None:
        """Hand on values in float64, a line for each row, with the rows' segments."""
        num_rows = self._batch.stop - self._batch.start
        rows = values.detach().expand(num_rows, -1) if values.size(0) == 1 else values.detach()
        codes = {name: of.codes[self._batch] for name, of in self._segments.items() if rows.size(0) == num_rows}
        for start in range(0, rows.size(0), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            add(rows[part].to("cpu", torch.float64).numpy(), {name: of_rows[part] for name, of_rows in codes.items()})

    def summary(self) -> dict[str, Any]:
        """Plain values: ``num_rows``, ``fields``, ``gates`` and ``cross``, the maps of which field crosses which.

        Raises:
            DataError: Where a gate gave values that are not finite.
        """
        gates = []
        for name, gate in _gates(self._network):
            of: FactorStatistics | ExpertStatistics | None = self.factors.get(name) or self.experts.get(name)
            if of is not None:
                if not np.isfinite(of.mean).all():
                    raise DataError(f"the gate {name} gives values that are not finite; look at the run's loss")
                head = {"name": name, "kind": type(gate).__name__, "slot": gate.slot}
                gates.append(head | of.summary(self._inputs.order, self._segments))
        return {"num_rows": self.num_rows, "fields": list(self._inputs.order), "gates": gates, "cross": self._cross()}

    def _cross(self) -> list[dict[str, Any]]:
        """Per cross layer the norm of each block of its matrix, row by row the field that is scaled."""
        widths = [self._inputs.dims[name] for name in self._inputs.order]
        member = membership(np.repeat(np.arange(len(widths)), widths))
        maps = []
        for name, layer in self._network.named_modules():
            if isinstance(layer, GatedCross | MatrixCross):
                squares = _matrix(layer.weight).to("cpu", torch.float64).square().numpy()
                norms: Floats = np.sqrt(member.T @ squares @ member)
                gate = self.factors.get(f"{name}.gate")
                if gate is not None:
                    norms = norms * gate.by_field(gate.mean)[:, None]
                head = {"name": name, "kind": type(layer).__name__, "gated": gate is not None}
                maps.append(head | {"importance": norms.tolist()})
        return maps


def _gates(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        slot = getattr(module, "slot", "value")
        if slot != "value" and (slot == "expert" or hasattr(module, "factor")):
            yield name, module


@contextmanager
def _telling(gate: nn.Module, told: Callable[[nn.Module, Tensor], None]) -> Iterator[None]:
    """Let the gate tell each factor that it computes; the instance alone is touched, its class is not."""
    before, factor = gate.__dict__.get("factor"), gate.factor
    assert callable(factor)

    def telling(*arguments: Any, **named: Any) -> Tensor:
        result: Tensor = factor(*arguments, **named)
        told(gate, result)
        return result

    gate.__dict__["factor"] = telling
    try:
        yield
    finally:
        if before is None:
            del gate.__dict__["factor"]
        else:
            gate.__dict__["factor"] = before


def _gates_of_units(network: nn.Module) -> set[nn.Module]:
    """The gates whose coordinates are hidden units, as the modules that have them say."""
    said = (getattr(module, "gates_of_units", list) for module in network.modules())
    return {gate for of_module in said for gate in of_module()}


def _owners(shape: tuple[int, ...], *, inputs: Inputs) -> Places | None:
    """The field of each coordinate: of the flat embedding, or of an axis of fields, the last but one; else None."""
    widths = [inputs.dims[name] for name in inputs.order]
    if len(shape) >= 2 and shape[-2] == len(widths):
        return np.broadcast_to(np.arange(len(widths))[:, None], shape).reshape(-1)
    return np.repeat(np.arange(len(widths)), widths) if shape == (inputs.flat_dim,) else None


def _matrix(weight: nn.Module) -> Tensor:
    """The matrix of a linear layer, or of two thin ones behind each other."""
    if isinstance(weight, nn.Sequential):
        first, second = weight
        return _matrix(second) @ _matrix(first)
    assert isinstance(weight, nn.Linear)
    return weight.weight.detach()
