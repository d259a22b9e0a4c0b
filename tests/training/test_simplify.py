"""A simplified trace makes fewer calls and gives the same bits, also where memory is written to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vae_ablation.training.simplify import name_of
from vae_ablation.training.traced import Trace, record

Function = Callable[..., tuple[Tensor, ...]]


def calls(recorded: Trace) -> list[str]:
    """The operations that are left."""
    return [name for node in recorded.graph.nodes if (name := name_of(node))]


def simplified(function: Function, *shapes: tuple[int, ...]) -> list[str]:
    """Record, see that other numbers give the same bits, and name what is left."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    recorded = record(function, *map(torch.zeros_like, tensors))
    given = [tensor.clone() for tensor in tensors]
    for ours, theirs in zip(recorded(*given), function(*tensors), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()
    assert all(map(torch.equal, given, tensors)), "an argument was written to"
    return calls(recorded)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ((x * 1).exp(),),
        lambda x: ((x / 1).exp(),),
        lambda x: ((x**1).exp(),),
        lambda x: (x.mT.mT.view(x.shape).exp(),),
        lambda x: (x.unsqueeze(0).squeeze(0).expand(3, 4).exp(),),
    ],
)
def test_what_changes_nothing_is_left_out(function: Function) -> None:
    assert simplified(function, (3, 4)) == ["exp"]


def test_a_view_is_made_once() -> None:
    def function(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x.view(1, 4, 3) + 1, y * x.view(1, 4, 3)

    assert simplified(function, (4, 3), (2, 4, 3)).count("view") == 1


def test_another_view_is_another() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return x + x.mT, x[:2, :2] + x[1:3, 1:3]

    left = simplified(function, (3, 3))
    assert left.count("transpose") == 1
    assert left.count("slice") == 4


def test_a_copy_that_is_written_to_stays_a_copy() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        once, product = x * 1, x * 2
        same = product * 1
        product.add_(1)
        return once.exp_(), same, product

    assert simplified(function, (5,)).count("mul") == 3


def test_a_copy_of_what_was_written_to_before_is_left_out() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        product = (x * 2).add_(1)
        return ((product * 1).view(5).exp(),)

    assert simplified(function, (5,)) == ["mul", "add_", "exp"]


def test_a_view_written_to_shows_in_what_it_is_a_view_of() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        whole = x * 2
        before = whole * 1
        whole.view(2, 6)[:, :3].mul_(3)
        return whole, before

    assert simplified(function, (3, 4)).count("mul") == 2


def test_numbers_are_made_once_and_keep_the_precision_of_what_they_meet() -> None:
    def function(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        wide = y.double() * 0.1
        return (x * 0.1 + 0.1).div(3).sub_(0.1), wide, x + 2, torch.add(x, y, alpha=0.1)

    recorded = record(function, torch.zeros(4), torch.zeros(4))
    names = [str(node.target) for node in recorded.graph.nodes if node.op == "placeholder"]
    assert sum(name.startswith("number") for name in names) == 4
    simplified(function, (4,), (4,))


def test_tensors_from_outside_are_brought_along() -> None:
    weight = torch.arange(4.0)

    def function(x: Tensor) -> tuple[Tensor, ...]:
        return x * weight * 0.5, weight.view(2, 2) + 1

    assert simplified(function, (4,)) == ["mul", "mul", "view", "add"]
