"""The section ``export`` of a run file."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from ctrgate.artifact.forms import COMPILED, Form, RowForm, is_bf16
from ctrgate.config import Place, settings
from ctrgate.ranges import Count, Positive

__all__ = ["CalibrateSettings", "ExportSettings", "ToleranceSettings"]


@settings
class CalibrateSettings:
    """A curve from logits to click rates that were seen on rows that training has not learnt from."""

    method: Literal["none", "platt", "isotonic"] = "none"
    """Platt's logistic curve (two numbers per label), or the isotonic one (as many steps as the rows show)."""
    split: Literal["valid", "test"] = "valid"
    """The rows that it is fitted on; what it does is measured on the other split."""


@settings
class ToleranceSettings:
    """The largest difference of a logit between checkpoint and artifact; relative for logits beyond 1."""

    float32: Positive = 1e-5
    """With rows as they were trained; also of golden rows wherever the artifact is loaded."""
    float16: Positive = 0.01
    """With rows in float16."""
    int8: Positive = 0.1
    """With rows in int8."""
    bf16: Positive = 0.2
    """With the network in bf16; that of the rows comes on top."""
    compiled: Positive = 1e-4
    """With the network compiled, whose sums may run in another order; that of rows and bf16 comes on top."""
    onnx: Positive = 1e-4
    """Between ONNX Runtime and the artifact, of golden rows."""


@settings
class ExportSettings:
    """What is written where."""

    which: Literal["best", "last"] = "best"
    """The checkpoint."""
    into: Place = ""
    """The folder; ``RUNS/NAME/artifact`` by default."""
    golden_rows: Annotated[int, Field(ge=2)] = 64
    """Made-up rows that are replayed wherever the artifact is loaded."""
    rows: RowForm = "float32"
    """How rows of tables are stored; int8 has a scale and an offset for each row, and tables of at most 8 columns in
    float16, which is no larger there."""
    forms: tuple[Literal["bf16", "compiled", "compiled_bf16"], ...] = ()
    """How the network may be computed when scoring, besides fp32; compiling takes a C++ compiler and half a minute."""
    tolerance: ToleranceSettings = field(default_factory=ToleranceSettings)
    """How far the artifact may lie from the checkpoint, by what it rounds."""
    parity_rows: Count = 65_536
    """Rows of valid, the first ones, on which that is measured; train's where there is no valid."""
    log: bool = False
    """Whether the artifact, tables included, is copied to the tracking store; promotion copies what is to serve."""
    calibrate: CalibrateSettings = field(default_factory=CalibrateSettings)
    """What probabilities are mended by; scores and logits stay what they are."""
    onnx: bool = False
    """Whether the network, without tables, is also written as ONNX, into ``INTO_onnx``; needs ``ctrgate[onnx]``."""

    def tolerated(self, form: Form) -> float:
        """How far a form may lie from the checkpoint."""
        allowed: float = getattr(self.tolerance, self.rows)
        allowed += self.tolerance.bf16 if is_bf16(form) else 0.0
        return allowed + (self.tolerance.compiled if form in COMPILED else 0.0)

    def remedy(self, form: Form) -> str:
        """What to do about a form that lies further."""
        if form != "fp32":
            name = "bf16" if is_bf16(form) else "compiled"
            return f"A larger export.tolerance.{name} lets it pass; without {form} in export.forms it is left out"
        told = f"A larger export.tolerance.{self.rows} lets it pass"
        return told if self.rows == "float32" else f"{told}; export.rows=float32 rounds nothing"
