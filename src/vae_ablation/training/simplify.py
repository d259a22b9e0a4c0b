"""A simplifier of recorded tensor operations: fewer calls that give the same bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

_VIEWS = frozenset(
    {"_unsafe_view", "alias", "detach", "expand", "permute", "squeeze", "transpose", "unsqueeze"}
    | {"view"}
)
"""Operations whose result is their first argument's memory, from the same beginning."""
_PARTS = frozenset({"select", "slice", "split", "split_with_sizes", "getitem"})
"""Operations whose result is a part of their first argument's memory."""
_ARITHMETIC = frozenset({"add", "add_", "div", "div_", "mul", "mul_", "sub", "sub_"})
_DIRECT = frozenset(
    {"abs", "add", "addcmul", "bmm", "cat", "clamp", "div", "exp", "lerp", "log", "log1p", "mean"}
    | {"mul", "neg", "permute", "pow", "relu", "rsub", "sigmoid", "sub", "sum", "tanh"}
    | {"transpose", "unsqueeze", "where"}
)
_METHODS = frozenset(
    {"abs_", "add_", "div_", "exp_", "expand", "log_", "mul_", "neg_", "relu_", "sigmoid_"}
    | {"sign_", "sub_", "view"}
)
"""Operations that torch's own functions and methods do, whose calls cost half of an overload's."""


def simplify_(graph: Graph) -> list[Tensor]:
    """Simplify a graph of aten overloads in place.

    Every node that holds a tensor tells its `layout` (shape, strides, dtype) in `meta`. Left out
    are views that another node gives as well and factors and powers of 1; numbers become tensors,
    so that no call makes them anew.

    Returns:
        The numbers, for which the graph now has placeholders before all others.
    """
    views: dict[tuple[Node, Any], Node] = {}
    last_write = _last_writes(graph)
    for position, node in enumerate(graph.nodes):
        same = _same_view_(node, views) or _same_numbers(node, position, last_write)
        if same is not None:
            node.replace_all_uses_with(same)
    for node in reversed(graph.nodes):
        if node.op == "call_function" and not node.users and not _writes(node):
            graph.erase_node(node)
    numbers = _numbers_to_tensors_(graph)
    for node in graph.nodes:
        _call_directly_(node)
    return numbers


def name_of(node: Node) -> str:
    """The name of a node's operation, without its overload; empty where it calls nothing."""
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function":
        return ""
    return str(getattr(node.target, "__name__", "")).partition(".")[0]


def is_view(node: Node) -> bool:
    """Whether an operation makes no tensor, but looks at one in another way."""
    return name_of(node) in _VIEWS | _PARTS


def _writes(node: Node) -> bool:
    return name_of(node).endswith("_")


def _viewed(node: Node) -> Node:
    """The node at whose tensor, from its beginning, a node looks; itself where it is no view."""
    while name_of(node) in _VIEWS:
        node = node.args[0]  # type: ignore[assignment]
    return node


def _memory(node: Node) -> Node:
    """The node that made the memory of a node's tensor."""
    while is_view(node) or _writes(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def _last_writes(graph: Graph) -> dict[Node, int]:
    """Position in the graph of the last write to the memory that a node made."""
    return {_memory(node): position for position, node in enumerate(graph.nodes) if _writes(node)}


def _same_view_(node: Node, views: dict[tuple[Node, Any], Node]) -> Node | None:
    """An earlier node that looks at the same tensor in the same way; those seen are in `views`."""
    if "layout" not in node.meta:
        return None
    first = views.setdefault((_viewed(node), node.meta["layout"]), node)
    return None if first is node else first


def _same_numbers(node: Node, position: int, last_write: dict[Node, int]) -> Node | None:
    """An earlier node with the same numbers in the same layout, neither of which changes later."""
    same = _unchanged(node)
    if same is None or same.meta["layout"] != node.meta["layout"]:
        return None
    changed = max(last_write.get(_memory(each), -1) for each in (node, same))
    return None if changed > position else same


def _unchanged(node: Node) -> Node | None:
    """The argument of x·1, x/1 and x¹, whose value is the same whatever it is."""
    name, (first, *others) = name_of(node), node.args or (None,)
    if not isinstance(first, Node) or node.kwargs:
        return None
    if name in ("mul", "div", "pow") and others == [1]:
        return first
    return None


def _numbers_to_tensors_(graph: Graph) -> list[Tensor]:
    """Give arithmetic with numbers tensors without axes instead, on the CPU for every device."""
    numbers: dict[tuple[float, torch.dtype], Node] = {}
    tensors: list[Tensor] = []
    first = next(iter(graph.nodes))

    def tensor(value: float, dtype: torch.dtype) -> Node:
        key = (value, dtype)
        if key not in numbers:
            with graph.inserting_before(first):
                numbers[key] = graph.placeholder(f"number_{len(tensors)}")
            tensors.append(torch.tensor(value, dtype=dtype))
        return numbers[key]

    for node in list(graph.nodes):
        if name_of(node) not in _ARITHMETIC or node.kwargs or len(node.args) != 2:
            continue
        left, right = node.args
        dtype = node.meta["layout"][2]
        if isinstance(right, int | float) and dtype.is_floating_point:
            node.args = (left, tensor(right, dtype))
    return tensors


def _call_directly_(node: Node) -> None:
    """Call torch's own function or method where there is one that takes the same arguments."""
    name = name_of(node)
    if name in _METHODS and not node.kwargs:
        node.op, node.target = "call_method", name
    elif name in _DIRECT:
        node.target = getattr(torch, name)
