"""Dice against its formula, and as the activation of an MLP."""

from __future__ import annotations

import torch

from ctrgate.layers.dice import Dice
from ctrgate.layers.mlp import Mlp


def test_dice_is_its_formula_on_the_batch_and_on_running_values() -> None:
    torch.manual_seed(0)
    dice = Dice(3)
    torch.nn.init.normal_(dice.alpha)
    x = torch.randn(50, 3) * 2 + 1
    mean, variance = x.mean(dim=0), x.var(dim=0, correction=0)
    p = 1 / (1 + torch.exp(-(x - mean) / variance.sqrt()))
    torch.testing.assert_close(dice(x), p * x + (1 - p) * dice.alpha * x)
    dice.eval()
    running = 0.1 * mean, 0.9 + 0.1 * x.var(dim=0)  # one step of torch's batch norm from mean 0 and variance 1
    p = 1 / (1 + torch.exp(-(x - running[0]) / running[1].sqrt()))
    torch.testing.assert_close(dice(x), p * x + (1 - p) * dice.alpha * x)


def test_with_alpha_one_dice_is_the_identity() -> None:
    dice = Dice(4)
    torch.nn.init.ones_(dice.alpha)
    x = torch.randn(9, 4)
    torch.testing.assert_close(dice(x), x)


def test_an_mlp_with_dice_has_one_per_block_of_its_width() -> None:
    mlp = Mlp(5, hidden_dims=(7, 3), activation="dice")
    assert [module.alpha.numel() for module in mlp.modules() if isinstance(module, Dice)] == [7, 3]
    assert mlp.eval()(torch.ones(1, 5)).shape == (1, 3)
