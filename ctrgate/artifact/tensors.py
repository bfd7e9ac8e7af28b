"""The tensors of a file, which must be those that are expected; they stay in the file, of which memory is a map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ctrgate.artifact.forms import RowForm
from ctrgate.artifact.rows import form_of, shape_of
from ctrgate.errors import ArtifactError

__all__ = ["load_tensors", "read_tensors"]

_Stored = tuple[RowForm, tuple[int, ...]]


def read_tensors(path: Path, expected: Mapping[str, _Stored]) -> dict[str, Tensor]:
    """A file's tensors by name.

    Args:
        path: The file.
        expected: How each is stored, and its shape as it is looked up.

    Raises:
        ArtifactError: Where one is missing, otherwise, or not expected.
    """
    tensors = load_tensors(path)
    found: dict[str, _Stored] = {name: (form_of(tensor), shape_of(tensor)) for name, tensor in tensors.items()}
    if found != expected:
        wrong = sorted(name for name in {**expected, **found} if found.get(name) != expected.get(name))[0]
        wanted, held = (_worded(of[wrong]) if wrong in of else "absent" for of in (expected, found))
        raise ArtifactError(f"{path}: {wrong} should be {wanted}, is {held}; export the run again")
    return tensors


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file.

    Raises:
        ArtifactError: Where it cannot be read.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; export the run again") from error


def _worded(stored: _Stored) -> str:
    form, shape = stored
    return f"{form} {' x '.join(map(str, shape))}"
