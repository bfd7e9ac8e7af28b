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
from ctrgate.layers.attention import AttentionGate
from ctrgate.layers.cross import GatedCross, MatrixCross
from ctrgate.layers.gated_units import ExpandedActivation, GatedLinear
from ctrgate.layers.gates import ContextGate, InformationGate, PersonalGate, SqueezeExcitation
from ctrgate.layers.residual import Highway
from ctrgate.models.inputs import Inputs
from ctrgate.models.mask_net import MaskNet
from ctrgate.models.ppnet import PPNet

__all__ = ["MAX_SEGMENTS", "GateObserver", "has_gates", "observe"]

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
MAX_SEGMENTS = 8
_SATURATED = 0.018  # sigmoid(-4)
_NEAR_ZERO = 1e-3
_DEAD = 0.01
_ROWS_AT_ONCE = 4_096  # bounds the float64 copies of wide factors


@contextmanager
def observe(
    network: nn.Module, *, inputs: Inputs, segments: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[GateObserver]:
    """Watch every gate of a network while it answers rows; its answers stay what they are.

    Gates are the modules with a ``slot``. Those that choose experts are read from what they return, the others where
    they compute their factor. Gates of single values (slot ``value``) stand before the network and are left out.

    Args:
        network: ``Fields -> Output``, in evaluation mode.
        inputs: What the network was built with; tells which coordinates are which field's.
        segments: Per segment column the value of each row that the network will see, in that order.
    """
    observer = GateObserver(network, inputs=inputs, segments=segments or {})
    with ExitStack() as restoring:
        restoring.callback(network.register_forward_pre_hook(observer.begin).remove)
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
        self._segments = {name: _Segment(values) for name, values in segments.items()}
        self._of_units = _gates_of_units(network)
        self._batch = slice(0, 0)

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
        """Take up a factor that a gate computed, of one row or of all."""
        if name not in self.factors:
            shape = tuple(factor.shape[1:])
            owners = None if gate in self._of_units else _owners(shape, inputs=self._inputs)
            self.factors[name] = FactorStatistics(gate, math.prod(shape), owners=owners, segments=self._segments)
        self._in_parts(factor.reshape(factor.shape[0] if factor.ndim else 1, -1), self.factors[name].add)

    def see_weights(self, name: str, _: nn.Module, __: Any, output: tuple[Tensor, Any]) -> None:
        """Take up what an expert gate gave: weights ``(B, K)``, and terms."""
        if name not in self.experts:
            self.experts[name] = ExpertStatistics(output[0].size(1), segments=self._segments)
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
        member = _membership(np.repeat(np.arange(len(widths)), widths))
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


class FactorStatistics:
    """Of the factors of one gate, by coordinate.

    ``mean`` and ``std`` are over rows; ``low`` and ``high`` count rows near the ends of a bounded factor, ``near_zero``
    those of an unbounded one; ``largest`` is the largest magnitude. Each is of shape ``(C,)``.

    Args:
        gate: The module.
        num_coordinates: C.
        owners: Per coordinate its field's number, ``(C,)``; None where coordinates belong to no field.
        segments: By column.
    """

    def __init__(
        self, gate: nn.Module, num_coordinates: int, *, owners: Places | None, segments: Mapping[str, _Segment]
    ) -> None:
        self.bounds = _bounds(gate)
        self.neutral = 1.0 if self.bounds is None else sum(self.bounds) / 2
        self.rows = 0
        zeros = np.zeros(num_coordinates)
        self.mean, self._deviation = zeros, zeros
        self.low, self.high, self.near_zero, self.largest = zeros, zeros, zeros, zeros
        self._alpha = float(gate.alpha.detach()) if isinstance(gate, ExpandedActivation) else None
        self._owners = owners
        self._of_field = _membership(np.zeros(num_coordinates, dtype=np.intp) if owners is None else owners)
        self._by_segment = _SegmentMeans(segments, width=self._of_field.shape[1])

    @property
    def std(self) -> Floats:
        """Over rows, ``(C,)``."""
        return np.sqrt(self._deviation / self.rows)

    def add(self, factor: Floats, codes: Mapping[str, Places]) -> None:
        """Take up the factors of some rows, ``(n, C)``."""
        rows, mean = len(factor), factor.mean(axis=0)
        total = self.rows + rows
        # Two sets of rows become one (Chan et al., 1979): exact where a difference of large sums would not be.
        shift = mean - self.mean
        between = np.square(shift) * (self.rows * rows / total)
        self._deviation = self._deviation + np.square(factor - mean).sum(axis=0) + between
        self.mean = self.mean + shift * (rows / total)
        self.rows = total
        self.largest = np.maximum(self.largest, np.abs(factor).max(axis=0))
        if self.bounds is None:
            self.near_zero = self.near_zero + (np.abs(factor) < _NEAR_ZERO).sum(axis=0)
        else:
            start, end = self.bounds
            share = (factor - start) / (end - start)
            self.low = self.low + (share < _SATURATED).sum(axis=0)
            self.high = self.high + (share > 1 - _SATURATED).sum(axis=0)
        self._by_segment.add(self.by_field(factor), codes)

    def by_field(self, values: Floats) -> Floats:
        """Means over each field's coordinates: ``(..., C)`` to ``(..., F)``; to ``(..., 1)`` where there are none."""
        result: Floats = values @ (self._of_field / self._of_field.sum(axis=0))
        return result

    def summary(self, fields: tuple[str, ...], segments: Mapping[str, _Segment]) -> dict[str, Any]:
        """Plain values: of the whole gate, by field, by segment."""
        result: dict[str, Any] = {"bounds": self.bounds, "neutral": self.neutral, "num_rows": self.rows}
        result |= self._described(np.ones(len(self.mean), dtype=bool))
        if self._alpha is not None:
            result["alpha"] = self._alpha
        if self._owners is not None:
            result["fields"] = [
                {"field": name, **self._described(self._owners == number)} for number, name in enumerate(fields)
            ]
        return result | {"segments": self._by_segment.summary(segments)}

    def _described(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Some coordinates together; ``std`` is the root of the mean variance over rows, ``between`` is of the means.

        ``dead`` counts those below .01 of the neutral value on every row. ``saturated`` is None for an unbounded
        factor, ``near_zero`` for a bounded one.
        """
        bounded = self.bounds is not None
        low, high, near_zero = (float(of[chosen].mean()) / self.rows for of in (self.low, self.high, self.near_zero))
        return {
            "num_coordinates": int(chosen.sum()),
            "mean": float(self.mean[chosen].mean()),
            "std": math.sqrt(float(self._deviation[chosen].mean()) / self.rows),
            "between": float(self.mean[chosen].std()),
            "low": low if bounded else None,
            "high": high if bounded else None,
            "saturated": low + high if bounded else None,
            "near_zero": None if bounded else near_zero,
            "dead": int((self.largest[chosen] < _DEAD * self.neutral).sum()),
        }


class ExpertStatistics:
    """Of the weights that one gate gives to its K experts."""

    def __init__(self, num_experts: int, *, segments: Mapping[str, _Segment]) -> None:
        zeros = np.zeros(num_experts)
        self.rows = 0
        self._weights, self._first, self._nonzero, self._largest = zeros, zeros, zeros, zeros
        self._entropy = 0.0
        self._by_segment = _SegmentMeans(segments, width=num_experts)

    @property
    def mean(self) -> Floats:
        """The load: the mean weight of each expert, ``(K,)``."""
        load: Floats = self._weights / self.rows
        return load

    def add(self, weights: Floats, codes: Mapping[str, Places]) -> None:
        """Take up the weights of some rows, ``(n, K)``."""
        self.rows += len(weights)
        self._weights = self._weights + weights.sum(axis=0)
        self._first = self._first + np.bincount(weights.argmax(axis=1), minlength=len(self._first))
        self._nonzero = self._nonzero + (weights > 0).sum(axis=0)
        self._largest = np.maximum(self._largest, weights.max(axis=0))
        self._entropy -= float((weights * np.log(np.where(weights > 0, weights, 1.0))).sum())
        self._by_segment.add(weights, codes)

    def summary(self, fields: tuple[str, ...], segments: Mapping[str, _Segment]) -> dict[str, Any]:  # noqa: ARG002
        """Plain values; shares are of rows, ``entropy`` is over that of equal weights, None for a single expert.

        ``unused`` lists the experts whose weight was below .01 of an equal share on every row.
        """
        num_experts = len(self._weights)
        return {
            "num_rows": self.rows,
            "num_experts": num_experts,
            "load": self.mean.tolist(),
            "first": (self._first / self.rows).tolist(),
            "nonzero": (self._nonzero / self.rows).tolist(),
            "entropy": self._entropy / self.rows / math.log(num_experts) if num_experts > 1 else None,
            "unused": np.flatnonzero(self._largest < _DEAD / num_experts).tolist(),
            "segments": self._by_segment.summary(segments),
        }


class _Segment:
    """One segment column: the values with most rows, and each row's place among them, or one beyond."""

    def __init__(self, values: NDArray[Any]) -> None:
        texts = np.array(["missing" if value is None else str(value) for value in values], dtype=str)
        names, places, counts = np.unique(texts, return_inverse=True, return_counts=True)
        kept = np.argsort(-counts, kind="stable")[:MAX_SEGMENTS]
        self.names = [str(names[place]) for place in kept]
        self.num_values = len(names)
        codes = np.full(len(names), len(kept), dtype=np.intp)
        codes[kept] = np.arange(len(kept))
        self.codes = codes[places]


class _SegmentMeans:
    """Means of some values by segment."""

    def __init__(self, segments: Mapping[str, _Segment], *, width: int) -> None:
        self._sums = {name: np.zeros((len(of.names), width)) for name, of in segments.items()}
        self._counts = {name: np.zeros(len(of.names), dtype=np.int64) for name, of in segments.items()}

    def add(self, values: Floats, codes: Mapping[str, Places]) -> None:
        """Take up values ``(n, W)``; without codes nothing."""
        for name, of_rows in codes.items():
            chosen = np.arange(len(self._sums[name]))[:, None] == of_rows
            self._sums[name] += chosen.astype(np.float64) @ values
            self._counts[name] += chosen.sum(axis=1)

    def summary(self, segments: Mapping[str, _Segment]) -> dict[str, Any]:
        """Per column its number of values and the lines of those kept; none where no value was given by row."""
        return {
            name: {
                "num_values": segments[name].num_values,
                "lines": [
                    {"value": value, "num_rows": int(count), "means": (total / count).tolist()}
                    for value, count, total in zip(segments[name].names, counts, self._sums[name], strict=True)
                    if count
                ],
            }
            for name, counts in self._counts.items()
            if counts.any()
        }


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


def _bounds(gate: nn.Module) -> tuple[float, float] | None:
    """Between which values the factor lies; None where it is unbounded on some side."""
    if isinstance(gate, ContextGate | PersonalGate):
        return 0.0, 2.0
    if isinstance(gate, ExpandedActivation):
        alpha = float(gate.alpha.detach())
        return -alpha, 1 + alpha
    by_sigmoid = isinstance(gate, InformationGate | AttentionGate | Highway)
    by_sigmoid |= isinstance(gate, SqueezeExcitation) and gate._activation == "sigmoid"
    by_sigmoid |= isinstance(gate, GatedLinear) and gate._phi is torch.sigmoid
    return (0.0, 1.0) if by_sigmoid else None


def _gates_of_units(network: nn.Module) -> set[nn.Module]:
    """The gates whose coordinates are hidden units, whatever their number: an equal width does not make them fields."""
    units: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, GatedLinear | ExpandedActivation):
            units.add(module)
        elif isinstance(module, PPNet):  # its later gates stand before hidden layers
            units.update(list(module.gates)[1:])
        elif isinstance(module, MaskNet) and module.serial:  # its later blocks mask what the one below found
            units.update(found for block in list(module.blocks)[1:] for found in block.modules())
    return units


def _owners(shape: tuple[int, ...], *, inputs: Inputs) -> Places | None:
    """The field of each coordinate: of the flat embedding, or of an axis of fields, the last but one; else None."""
    widths = [inputs.dims[name] for name in inputs.order]
    if len(shape) >= 2 and shape[-2] == len(widths):
        return np.broadcast_to(np.arange(len(widths))[:, None], shape).reshape(-1)
    return np.repeat(np.arange(len(widths)), widths) if shape == (inputs.flat_dim,) else None


def _membership(owners: Places) -> Floats:
    """``(C, F)``, 1 where the coordinate is the field's."""
    return np.equal(owners[:, None], np.arange(owners.max() + 1)).astype(np.float64)


def _matrix(weight: nn.Module) -> Tensor:
    """The matrix of a linear layer, or of two thin ones behind each other."""
    if isinstance(weight, nn.Sequential):
        first, second = weight
        return _matrix(second) @ _matrix(first)
    assert isinstance(weight, nn.Linear)
    return weight.weight.detach()
