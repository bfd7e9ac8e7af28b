"""The section ``score`` of a run file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ctrgate.artifact.forms import Form
from ctrgate.artifact.interface import TOP_K
from ctrgate.config import Place, settings
from ctrgate.features.dataset import Places
from ctrgate.ranges import Count, Positive

__all__ = ["ScoreSettings"]


@settings
class ScoreSettings:
    """Which rows are scored, with which model."""

    files: Annotated[Places, Field(min_length=1)]
    """Paths or globs of raw files, written as the dataset's files were."""
    model: Place = ""
    """The folder of the exported model, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; ``RUNS/NAME/artifact`` by
    default."""
    form: Form = "fp32"
    """How the network is computed, of the forms that the model was exported for; on a machine that lacks what a form
    needs it is fp32, with a warning."""
    trusted: str = ""
    """For a compiled form, which is code: the identity of the model, as ``ctrgate export`` has told it. A registered
    model is trusted by that of the registry."""
    into: Place = ""
    """The folder of the scores; ``scores/NAME`` by default."""
    batch_rows: Count = 16_384
    """Rows that go through the network together; of histories whose next items are ranked, at most 1,024."""
    unit_rows: Count = 262_144
    """Rows of one part of the scores, the unit that is done again after a kill; of Parquet, whole row groups that have
    at least as many."""
    top_k: Count = TOP_K
    """Items per row, for a model that ranks items."""
    processes: Count = 1
    """Processes that score side by side; scores do not depend on their number."""
    ray: bool = False
    """Whether these processes are Ray's (see ``cluster``), on this machine or on several that see files, model and the
    folder of the scores under the same paths."""
    threads: Count = 1
    """Threads of the network in each process; the last digits of scores may depend on them."""
    on_bad_file: Literal["stop", "skip"] = "stop"
    """What a file that cannot be read or scored does: end the job, or be left out, listed, and told by exit code 3."""
    like: Place = ""
    """A folder of earlier scores that these should be distributed as; by default those of the rows that the model
    was exported with."""
    max_psi: Positive = 0.25
    """The largest population stability index of a label's logits."""
    max_feature_psi: Positive = 0.25
    """The largest one of an encoded column, against the rows that the model was exported with."""
    on_skew: Literal["warn", "stop"] = "warn"
    """What a larger one does: it is told, or the scores do not take their place and the exit code is 3."""
    replace: bool = False
    """Replace scores of another model, of other files or of other settings that lie there, finished or not."""
    dry_run: bool = False
    """Check model, files and columns, and write nothing."""
