"""BST: its formula event by event, what each pooling takes, and what it needs to be built."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from ctrgate.errors import ConfigError
from ctrgate.models.blocks import MlpConfig
from ctrgate.models.bst import BST, BSTConfig
from ctrgate.models.inputs import History
from ctrgate.training.model import CtrModel
from tests.layers.test_causal_attention import naive
from tests.models.every_network import LAYOUT, batch, model

SMALL = MlpConfig(hidden=(8, 6), batch_norm=False)
Pooling = Literal["target", "mean", "all"]
LENGTHS = [4, 1, 0, 3]
MASK = torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def body(of: CtrModel) -> BST:
    assert isinstance(of.network.body, BST)
    return of.network.body


def normalised(row: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = row - row.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def expected(transformer: nn.Module, config: BSTConfig, shown: Tensor, events: Tensor) -> Tensor:
    """One row: outputs of what is shown, then of its events from the newest to the oldest."""
    backwards = [shown, *reversed(list(events))]
    x = torch.stack([row + transformer.positions[place] for place, row in enumerate(backwards)])
    for layer in transformer.layers:
        found = naive(layer.attention, x, x, heads=config.num_heads, causal=False)
        rows = []
        for before, one in zip(x, found, strict=True):
            h = normalised(before + one, layer.attention_norm)
            inner = layer.widen.weight @ h + layer.widen.bias
            inner = torch.where(inner > 0, inner, 0.01 * inner)
            rows.append(normalised(h + layer.narrow.weight @ inner + layer.narrow.bias, layer.forward_norm))
        x = torch.stack(rows)
    return x


@pytest.mark.parametrize("pooling", ["target", "mean", "all"])
@pytest.mark.parametrize("gate", ["none", "head", "element"])
@torch.no_grad()
def test_a_transformer_is_its_formula(pooling: Pooling, gate: Literal["none", "head", "element"]) -> None:
    config = BSTConfig(mlp=SMALL, num_layers=2, num_heads=2, hidden=5, pooling=pooling, gate=gate)
    transformer = body(model(config)).transformers[0]
    torch.manual_seed(0)
    for weight in transformer.parameters():
        nn.init.normal_(weight)
    shown, events = torch.randn(4, 8), torch.randn(4, 4, 8)
    found = transformer(shown, events, MASK)
    for row, length in enumerate(LENGTHS):
        outputs = expected(transformer, config, shown[row], events[row, :length])
        if pooling == "all":
            outputs = torch.cat([outputs, torch.zeros(4 - length, 8)]).flatten()
        else:
            outputs = outputs[0] if pooling == "target" else outputs.mean(dim=0)
        torch.testing.assert_close(found[row], outputs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["target", "mean", "all"])
@torch.no_grad()
def test_what_lies_in_the_padding_is_of_no_consequence(pooling: Pooling) -> None:
    transformer = body(model(BSTConfig(mlp=SMALL, num_heads=2, pooling=pooling))).transformers[0]
    shown, events = torch.randn(4, 8), torch.randn(4, 4, 8)
    other = torch.where(MASK.unsqueeze(2), events, torch.full_like(events, 1e3))
    torch.testing.assert_close(transformer(shown, events, MASK), transformer(shown, other, MASK))


@torch.no_grad()
def test_the_order_of_events_bears_on_the_logit() -> None:
    of = model(BSTConfig(mlp=SMALL, pooling="target")).eval()
    nn.init.normal_(body(of).transformers[0].positions)
    rows = batch(30)
    items, tags = (rows.ids[name] for name in ("history/item", "history/tag"))
    ends = items.lengths.cumsum(0)
    order = torch.cat(
        [torch.arange(int(end) - 1, int(end - n) - 1, -1) for end, n in zip(ends, items.lengths, strict=True)]
    )
    backwards = {
        "history/item": dataclasses.replace(items, values=items.values[order]),
        "history/tag": dataclasses.replace(tags, values=tags.values[order]),
    }
    moved = of(rows)[0].logits != of(dataclasses.replace(rows, ids={**rows.ids, **backwards}))[0].logits
    assert moved[items.lengths > 2].any()
    assert not moved[items.lengths < 2].any()


def test_members_are_matched_as_in_din() -> None:
    histories = [request for request in BSTConfig().embeddings(LAYOUT) if isinstance(request, History)]
    assert [(history.key, history.target) for history in histories] == [
        ("history/item", "item"),
        ("history/tag", "tags"),
    ]


def test_all_outputs_stand_side_by_side_in_the_mlp() -> None:
    widths = {
        pooling: body(model(BSTConfig(mlp=SMALL, pooling=pooling))).mlp.blocks[0].in_features
        for pooling in ("all", "target", "mean")
    }
    # five fields of 4; item and tag side by side are 8; four events and what is shown
    assert widths == {"all": 20 + 5 * 8, "target": 28, "mean": 28}


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"model\.num_heads: 3 does not divide history's width 8"):
        model(BSTConfig(num_heads=3))


@torch.no_grad()
def test_without_sequences_it_is_an_mlp() -> None:
    of = model(BSTConfig(mlp=SMALL), layout=dataclasses.replace(LAYOUT, sequences=())).eval()
    assert len(body(of).transformers) == 0
    assert of(batch(3))[0].logits.shape == (3, 1)
