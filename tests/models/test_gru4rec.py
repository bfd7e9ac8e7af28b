"""GRU4Rec against its equations, event by event."""

from __future__ import annotations

import pytest
import torch

from ctrgate.models.gru4rec import GRU4Rec, GRU4RecConfig

LENGTHS = [4, 1, 3]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def layer(made: GRU4Rec, number: int, row: torch.Tensor) -> torch.Tensor:
    """One layer of the GRU on one history; torch stacks reset, update and new."""
    of_input, of_state = (getattr(made.gru, f"weight_{part}_l{number}").chunk(3) for part in ("ih", "hh"))
    state, states = torch.zeros(made.gru.hidden_size), []
    for x in row:
        reset, update = (torch.sigmoid(of_input[k] @ x + of_state[k] @ state) for k in (0, 1))
        new = torch.tanh(of_input[2] @ x + reset * (of_state[2] @ state))
        state = (1 - update) * new + update * state
        states.append(state)
    return torch.stack(states)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_gru4rec_is_its_formula(num_layers: int) -> None:
    torch.manual_seed(0)
    made = GRU4Rec(GRU4RecConfig(num_layers=num_layers, hidden=5), dim=3).eval()
    torch.nn.init.normal_(made.output.bias)
    items = torch.randn(3, 5, 3)
    with torch.no_grad():
        found = made(items, MASK)
        for row, length in enumerate(LENGTHS):
            states = items[row, :length]
            for number in range(num_layers):
                states = layer(made, number, states)
            torch.testing.assert_close(found[row, :length], states @ made.output.weight.T + made.output.bias)


def test_dropout_acts_on_what_enters_in_training_alone() -> None:
    made = GRU4Rec(GRU4RecConfig(dropout=0.5), dim=3)
    items = torch.randn(3, 5, 3)
    assert not torch.equal(made(items, MASK), made(items, MASK))
    made.eval()
    assert torch.equal(made(items, MASK), made(items, MASK))
