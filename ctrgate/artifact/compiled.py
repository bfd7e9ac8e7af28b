"""The network as a native library, made by torch.export and AOTInductor: faster, and code that runs when it is opened.

That is why ``open_compiled`` wants the hash of what it opens: it must come from a manifest that the caller trusts, and
what is opened is a private copy that has been seen to have it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctrgate.compiler import need_compiler
from ctrgate.contracts import Fields, Sequence
from ctrgate.errors import ArtifactError
from ctrgate.files import checksum
from ctrgate.models.network import Network

__all__ = ["Compiled", "compile_network", "open_compiled"]

Compiled = Callable[[Fields], Tensor]
"""What a network says of looked-up fields, in float32: logits, or queries."""
_CONFIG = {
    "freezing": False,  # it would fix the number of rows of some networks to that of the example
    "cpp.dynamic_threads": True,  # as many as torch has when it runs, not when it was compiled
    "compile_threads": 1,
}


def compile_network(network: Network, *, example: Fields, bf16: bool, into: Path) -> None:
    """Compile a network for this machine's processor and any number of rows.

    Args:
        network: In evaluation mode.
        example: Looked-up rows, two or more.
        bf16: Whether its products are in bfloat16.
        into: The file.

    Raises:
        ConfigError: Where there is no compiler.
    """
    need_compiler("export.forms", otherwise="leave the form out")
    from torch._inductor import aoti_compile_and_package  # costs a second, and only here

    into.parent.mkdir(exist_ok=True)
    inputs = _tensors(example)
    free = torch.export.Dim("batch", min=1)
    shapes = torch.utils._pytree.tree_map(lambda _: {0: free}, inputs)
    with torch.no_grad():
        program = torch.export.export(_TensorsIn(network, bf16=bf16), inputs, dynamic_shapes=shapes)
        aoti_compile_and_package(program, package_path=str(into), inductor_configs=_CONFIG)


def open_compiled(path: Path, *, sha256: str) -> Compiled:
    """Open a library.

    Args:
        path: Written by ``compile_network``.
        sha256: Its hash, from a manifest that is trusted.

    Raises:
        ArtifactError: Where the file has another hash, or cannot be opened here.
    """
    from torch._inductor import aoti_load_package

    with tempfile.TemporaryDirectory(prefix="ctrgate-") as private:  # nobody else can change it between hash and use
        copied = shutil.copyfile(path, Path(private) / path.name)
        if checksum(copied) != sha256:
            raise ArtifactError(f"{path} was changed after it was written; do not use it")
        try:
            library = aoti_load_package(str(copied))
        except (RuntimeError, OSError) as error:
            raise ArtifactError(f"{path} cannot be opened here: {error}; score in another form") from error

    def answers(fields: Fields) -> Tensor:
        found: Tensor = library(*_tensors(fields))
        if len(found) != len(fields.numbers):
            raise ArtifactError(
                f"{path} answers {len(found)} rows where {len(fields.numbers)} were asked; do not use it"
            )
        return found

    return answers


class _TensorsIn(nn.Module):
    """A network as a function of tensors."""

    def __init__(self, network: Network, *, bf16: bool) -> None:
        super().__init__()
        self.network, self.bf16 = network, bf16

    def forward(
        self,
        rows: dict[str, Tensor],
        numbers: Tensor,
        vectors: dict[str, Tensor],
        members: dict[str, dict[str, Tensor]],
        masks: dict[str, Tensor],
    ) -> Tensor:
        groups = {name: Sequence(members=of, mask=masks[name]) for name, of in members.items()}
        fields = Fields(rows=rows, numbers=numbers, vectors=vectors, sequences=groups)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            output = self.network(fields)
        answers: Tensor = output.query if output.logits is None else output.logits
        return answers.float()


def _tensors(fields: Fields) -> tuple[Any, ...]:
    """The arguments of ``_TensorsIn``."""
    groups = fields.sequences
    return (
        dict(fields.rows),
        fields.numbers,
        dict(fields.vectors),
        {name: dict(of.members) for name, of in groups.items()},
        {name: of.mask for name, of in groups.items()},
    )
