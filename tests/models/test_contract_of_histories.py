"""What every network that predicts the next item must hold."""

from __future__ import annotations

import pytest
import torch

from ctrgate.contracts import Ids
from ctrgate.models.network import is_causal
from tests.models.every_network import NEXT_ITEM, answer, batch, changed, model


@pytest.mark.parametrize("config", NEXT_ITEM)
def test_every_event_bears_on_the_query_and_no_other_field_does(config: object) -> None:
    evaluated = model(config).eval()
    rows = batch(40)
    history = rows.ids["history/item"]
    starts = torch.nn.functional.pad(history.lengths.cumsum(0), (1, 0))[:-1]
    with torch.no_grad():
        before = answer(evaluated, rows)
        for place in range(4):
            chosen = history.lengths > place
            values = history.values.clone()
            values[(starts + place)[chosen]] = 1 + values[(starts + place)[chosen]] % 12
            moved = Ids(values=values, lengths=history.lengths)
            after = answer(evaluated, changed(rows, ids={**rows.ids, "history/item": moved}))
            assert torch.equal((after != before).any(dim=1), chosen), place
        others = {name: Ids(values=rows.ids[name].values * 0) for name in ("user", "item")}
        torch.testing.assert_close(answer(evaluated, changed(rows, ids={**rows.ids, **others})), before)


@pytest.mark.parametrize("config", NEXT_ITEM)
def test_a_causal_network_in_training_knows_no_later_event(config: object) -> None:
    trained = model(config).train()
    rows = batch(40)
    torch.manual_seed(1)  # the same coordinates fall to dropout both times
    output, _ = trained(rows)
    if not is_causal(config):
        assert output.queries is None
        return
    history = rows.ids["history/item"]
    last = history.lengths.cumsum(0)[history.lengths > 1] - 1
    values = history.values.clone()
    values[last] = 1 + values[last] % 12
    torch.manual_seed(1)
    moved, _ = trained(changed(rows, ids={**rows.ids, "history/item": Ids(values=values, lengths=history.lengths)}))
    place = torch.arange(4).expand(40, 4)
    earlier = place < (history.lengths - 1).unsqueeze(1)
    torch.testing.assert_close(moved.queries[earlier], output.queries[earlier])
    at_end = (place == (history.lengths - 1).unsqueeze(1)) & (history.lengths > 1).unsqueeze(1)
    assert (moved.queries[at_end] != output.queries[at_end]).any(dim=1).all()
    real = history.lengths > 0
    torch.testing.assert_close(output.query[real], output.queries[place == (history.lengths - 1).unsqueeze(1)])
