"""The network of an artifact as ONNX, proven on its golden rows: looked-up rows in, logits out, without torch."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from ctrgate.artifact.bundle import Artifact, encode
from ctrgate.artifact.parity import largest_difference
from ctrgate.contracts import Fields, Output
from ctrgate.contracts import Sequence as Histories
from ctrgate.errors import ConfigError, HeldBackError

__all__ = ["ONNX", "check_installed", "write_onnx"]

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_FORMAT_VERSION = 1
ONNX, _ABOUT, _GOLDEN = "network.onnx", "interface.json", "golden.safetensors"


def check_installed() -> None:
    """See that what ONNX needs is there, before anything is computed.

    Raises:
        ConfigError: Naming what is not installed.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"export.onnx needs {', '.join(missing)}; pip install 'ctrgate[onnx]', or set it to false")


def write_onnx(folder: Path, artifact: Artifact, *, identity: str, tolerance: float) -> float:
    """Fill an empty folder with the network, what it asks and gives, and golden inputs with their logits.

    The rows of tables are inputs, not part of it: whoever runs it encodes and looks up as ``artifact/lookup.py`` does.
    The correction of logits for sampling is part of it, a calibration is not.

    Args:
        folder: Must exist.
        artifact: The model.
        identity: That it has once it is in its place.
        tolerance: Largest difference of a golden row's logit, see ``largest_difference``.

    Returns:
        The largest difference.

    Raises:
        ConfigError: An operator of the network has no form in ONNX.
        HeldBackError: ONNX Runtime gives other logits.
    """
    given = _tensors(artifact.lookup(encode(artifact.golden, encoder=artifact.encoder, layout=artifact.layout)))
    network = _OfTensors(artifact.network, names=tuple(given), shifts=artifact.manifest.logit_shifts)
    output = "query" if artifact.items is not None else "logits"
    _convert(network, given, output=output, into=folder / ONNX)
    difference = max(_difference(folder / ONNX, rows, network=network) for rows in (given, _first(given)))
    if not difference <= tolerance:
        raise HeldBackError(
            f"ONNX Runtime gives other logits than the network: the largest difference is {difference:.3g}, allowed is "
            f"{tolerance:g}; nothing was written. A larger export.tolerance.onnx lets it pass"
        )
    save_file({**given, output: network(list(given.values()))}, folder / _GOLDEN)
    about = {
        "format_version": _FORMAT_VERSION,
        "artifact": identity,
        "model": artifact.manifest.model,
        "labels": list(artifact.manifest.labels),
        "inputs": {name: ["rows", *rows.shape[1:]] for name, rows in given.items()},
        "numbers": list(artifact.layout.numbers),
        "output": output,
        "difference": difference,
        "tolerance": tolerance,
        "versions": {name: version(name) for name in ("torch", *_PACKAGES)},
    }
    (folder / _ABOUT).write_text(json.dumps(about, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return difference


class _OfTensors(nn.Module):
    """The network as a function of the tensors that ``Fields`` is made of."""

    def __init__(self, network: nn.Module, *, names: Sequence[str], shifts: Sequence[float]) -> None:
        super().__init__()
        self._network, self._names = network, names
        self._shifts = torch.tensor(shifts) if any(shifts) else None

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Logits, shifted, or queries; the tensors in the order of their names."""
        output: Output = self._network(_fields(dict(zip(self._names, tensors, strict=True))))
        found = output.query if output.logits is None else output.logits
        assert found is not None
        return found if self._shifts is None else found + self._shifts


def _tensors(fields: Fields) -> dict[str, Tensor]:
    """``Fields`` in parts: ``rows/NAME``, ``numbers``, ``vectors/NAME``, ``members/GROUP/NAME`` and ``mask/GROUP``."""
    found = {f"rows/{name}": rows for name, rows in fields.rows.items()}
    if fields.numbers.size(1):
        found["numbers"] = fields.numbers
    found |= {f"vectors/{name}": vectors for name, vectors in fields.vectors.items()}
    for group, histories in fields.sequences.items():
        found |= {f"members/{group}/{name}": rows for name, rows in histories.members.items()}
        found[f"mask/{group}"] = histories.mask
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _fields(tensors: Mapping[str, Tensor]) -> Fields:
    """What ``_tensors`` took apart."""
    parts: dict[str, dict[str, Tensor]] = {"rows": {}, "vectors": {}, "members": {}, "mask": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if rest:
            parts[kind][rest] = tensor
    num_rows = next(iter(tensors.values())).size(0)
    members: dict[str, dict[str, Tensor]] = {group: {} for group in parts["mask"]}
    for name, tensor in parts["members"].items():
        group, _, member = name.partition("/")
        members[group][member] = tensor
    return Fields(
        rows=parts["rows"],
        numbers=tensors["numbers"] if "numbers" in tensors else torch.zeros(num_rows, 0),
        vectors=parts["vectors"],
        sequences={group: Histories(members=of, mask=parts["mask"][group]) for group, of in members.items()},
    )


def _convert(network: nn.Module, given: Mapping[str, Tensor], *, output: str, into: Path) -> None:
    from torch.onnx.errors import OnnxExporterError

    rows = torch.export.Dim("rows", min=1)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(network, (list(given.values()),), dynamic_shapes=([{0: rows}] * len(given),))
            written = torch.onnx.export(
                program, dynamo=True, input_names=list(given), output_names=[output], verbose=False
            )
    except OnnxExporterError as error:
        raise ConfigError(
            f"export.onnx: the network cannot be written as ONNX, which has no {_operator(error)}; set it to false, "
            "the artifact scores all the same"
        ) from error
    assert written is not None
    written.save(into)


def _operator(error: BaseException | None) -> str:
    """The operator that the exporter did not know, as far as it says."""
    while error is not None:
        if found := re.search(r"op='([\w.:]+)', overload='(\w+)'", str(error)):
            return f"operator {found[1]}.{found[2]}"
        error = error.__cause__
    return "form of one of its operators"


def _difference(path: Path, given: Mapping[str, Tensor], *, network: nn.Module) -> float:
    """Between what ONNX Runtime makes of some rows and the network."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    asked = [each.name for each in session.get_inputs()]  # what the network does not read may have been left out
    (found,) = session.run(None, {name: given[name].numpy() for name in asked})
    expected: NDArray[np.float32] = network(list(given.values())).numpy()
    return largest_difference(found, expected)


def _first(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: rows[:1] for name, rows in given.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not installed, and on its own use of torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*treespec", category=FutureWarning)
            warnings.filterwarnings("ignore", message="The tensor attributes .*_flat_weights")  # of any GRU
            yield
    finally:
        logger.setLevel(level)
