"""Fields side by side, as networks read them."""

from __future__ import annotations

import torch

from ctrgate.contracts import Fields


def fields() -> Fields:
    """Three fields, two of which lie in one block."""
    torch.manual_seed(0)
    block, alone = torch.randn(5, 6, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    rows = {"a": alone, "b": block[:, :2], "c": block[:, 2:]}
    return Fields(rows=rows, numbers=torch.empty(5, 0), order=("a", "b", "c"), blocks={("b", "c"): block})


def test_flat_has_the_fields_in_order() -> None:
    given = fields()
    assert torch.equal(given.flat, torch.cat([given["a"], given["b"], given["c"]], dim=1))


def test_flat_for_products_is_flat_cast_once_under_autocast_and_flat_itself_without() -> None:
    given = fields()
    assert torch.equal(given.flat_for_products, given.flat)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = given.flat_for_products
    assert cast.dtype == torch.bfloat16
    assert torch.equal(cast, given.flat.to(torch.bfloat16))
    (gradient,) = torch.autograd.grad(cast.float().square().sum(), given.blocks["b", "c"])
    torch.testing.assert_close(gradient, 2 * given.blocks["b", "c"], rtol=2**-7, atol=0)
