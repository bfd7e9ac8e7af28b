"""The proof that an artifact scores as its checkpoint, in every form, and what the rows of it looked like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ctrgate.artifact.bundle import Artifact, encode
from ctrgate.artifact.compiled import compile_network, open_compiled
from ctrgate.artifact.forms import COMPILED, Form, compiled_part, is_bf16, needs
from ctrgate.artifact.parity import Parity, largest_difference, measured
from ctrgate.artifact.settings import ExportSettings
from ctrgate.artifact.shrink import Shrunk
from ctrgate.artifact.snapshot import Snapshot
from ctrgate.errors import HeldBackError
from ctrgate.exporting.checkpoint import answers_of, compared_split, sample_of
from ctrgate.files import checksum
from ctrgate.row_ids import FIRST_VALUE_ID
from ctrgate.training.runs import Restored

__all__ = ["in_forms", "prove", "snapshot_of"]

_SCORED_ITEMS = _SCORED_HISTORIES = 256  # of a model that ranks items, to be compared


def in_forms(artifact: Artifact, *, folder: Path, forms: Sequence[Form]) -> list[Artifact]:
    """The artifact in each form, fp32 first; libraries are compiled into the folder."""
    formed = [artifact]
    for form in dict.fromkeys(forms):
        library = None
        if form in COMPILED:
            path = folder / compiled_part(form)
            example = artifact.lookup(encode(artifact.golden, encoder=artifact.encoder, layout=artifact.layout))
            compile_network(artifact.network, example=example, bf16=is_bf16(form), into=path)
            library = open_compiled(path, sha256=checksum(path))
        formed.append(replace(artifact, form=form, library=library))
    return formed


def prove(
    formed: Sequence[Artifact], restored: Restored, *, shrunk: Shrunk | None, export: ExportSettings
) -> dict[Form, Parity]:
    """How far each form lies from the checkpoint on golden rows and on rows of ``compared_split``, which are not kept.

    Raises:
        HeldBackError: Where one lies further than its tolerance.
    """
    artifact, split = formed[0], compared_split(restored)
    sample = partial(sample_of, restored, num_rows=_SCORED_HISTORIES if artifact.items else export.parity_rows)
    theirs, ours = _item_rows(artifact, restored)
    expected = _rankings((answers_of(restored, batch) for batch in sample()), items=theirs)
    known = [batch.labels.numpy() for batch in sample() if batch.labels is not None and artifact.items is None]
    labels = dict(zip(restored.layout.labels, np.concatenate(known).T, strict=True)) if known else {}
    forms: dict[Form, Parity] = {}
    for each in formed:
        form = each.form
        moved = (shrunk.batch(batch) if shrunk else batch for batch in sample())
        found = _rankings((each.logits_of(batch) for batch in moved), items=ours)
        golden = each.golden_difference()
        tolerance = export.tolerated(form)
        apart = {"golden": golden, split: largest_difference(found, expected)}
        if not max(apart.values()) <= tolerance:
            raise HeldBackError(
                f"the artifact scores otherwise than {restored.checkpoint}: largest differences of a logit in {form} "
                f"{apart}, allowed is {tolerance:g}; nothing was written. {export.remedy(form)}"
            )
        forms[form] = measured(
            found,
            expected,
            golden=golden,
            tolerance=tolerance,
            split=split,
            rows=found.shape[0 if artifact.items is None else 1],
            cpu_flags=needs(form),
            torch=torch.__version__ if form in COMPILED else "",
            labels=labels,
        )
    return forms


def snapshot_of(artifact: Artifact, restored: Restored, *, shrunk: Shrunk | None, num_rows: int) -> Snapshot:
    """How the rows look on which forms are compared, and what the artifact says of them."""
    batches = [shrunk.batch(batch) if shrunk else batch for batch in sample_of(restored, num_rows=num_rows)]
    labels = artifact.layout.labels if artifact.items is None else ()
    logits = np.concatenate([artifact.logits_of(batch) for batch in batches]) if labels else None
    return Snapshot.of(
        batches,
        split=compared_split(restored),
        encoder=artifact.encoder,
        layout=artifact.layout,
        logits={} if logits is None else dict(zip(labels, logits.T, strict=True)),
    )


def _item_rows(artifact: Artifact, restored: Restored) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """The rows of some items, spread over the table, as the checkpoint has them and the artifact; for one of items."""
    if artifact.items is None:
        return None, None
    table = artifact.items.table
    ids = np.unique(np.linspace(FIRST_VALUE_ID, artifact.items.num_rows - 1, _SCORED_ITEMS).astype(np.int64))
    theirs = next(
        weight[ids, : spec.dim].cpu() for spec, weight in restored.model.lookups.tables() if spec.name == table
    )
    return theirs.numpy(), artifact.lookup.rows(table)[ids].numpy()


def _rankings(parts: Iterator[NDArray[np.float32]], *, items: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Logits ``(n, L)``, which rank rows by label; or of queries the scores of items, which rank items by row."""
    answers = np.concatenate(list(parts))
    return answers if items is None else items @ answers.T
