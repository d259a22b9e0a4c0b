"""A function of tensors as a plain list of tensor operations, recorded while it runs."""

from __future__ import annotations

import logging
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

log = logging.getLogger(__name__)

PATIENCE = 24
"""Calls with tensors of the same shapes before they are captured."""
_VIEWS = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("alias", "detach", "expand", "view", "_unsafe_view")
)

Function = Callable[..., tuple[Tensor, ...]]


class Captured:
    """A function of tensors, called by the list of what it does once it has shown what that is.

    `torch.func.vmap` and autograd decide anew in every call which kernels to run. Captured, those
    kernels are called one after the other, with the same arguments and to the same bits, which is
    checked once. (`make_fx` and `torch.compile` do as much, but import a compiler and sympy for it,
    several seconds in every job.)

    Args:
        function: of tensors alone; it must do the same operations whatever their values, and
            differentiates, if it does, within itself.
        patience: calls with the same shapes before they are captured.
    """

    def __init__(self, function: Function, patience: int = PATIENCE) -> None:
        self.function = function
        self.patience = patience
        self.graphs: dict[tuple[torch.Size, ...], Function] = {}
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The function's result, without gradients."""
        shapes = tuple(tensor.shape for tensor in tensors)
        if graph := self.graphs.get(shapes):
            with torch.set_grad_enabled(graph is self.function):
                return graph(*tensors)
        self._calls[shapes] += 1
        if self._calls[shapes] <= self.patience:
            return self.function(*tensors)
        return self._capture(shapes, tensors)

    def _capture(
        self, shapes: tuple[torch.Size, ...], tensors: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Capture the function for these shapes, unless the graph says something else than it."""
        expected = self.function(*tensors)
        self.graphs[shapes] = self.function
        try:
            graph = record(self.function, *(torch.zeros_like(tensor) for tensor in tensors))
            with torch.no_grad():
                found = graph(*tensors)
        except Exception as error:
            log.warning("a step cannot be captured and runs as it is: %r", error)
            return expected
        pairs = zip(expected, found, strict=True)
        if all(torch.allclose(*pair, rtol=0, atol=0, equal_nan=True) for pair in pairs):
            self.graphs[shapes] = graph
        else:
            log.warning("a captured step gives other numbers than the step, which runs as it is")
        return expected


def record(function: Function, *tensors: Tensor) -> GraphModule:
    """What a function does with tensors like these, as a graph."""
    recorder = _Recorder(tensors)
    with recorder:
        results = function(*tensors)
    recorder.graph.output(tuple(recorder.node(result) for result in results))
    for node in recorder.graph.nodes:
        if node.target in _VIEWS and node.meta["layout"] == node.args[0].meta["layout"]:
            node.replace_all_uses_with(node.args[0])
            recorder.graph.erase_node(node)
    return GraphModule(recorder.constants, recorder.graph)


class _Recorder(TorchDispatchMode):
    """Adds every operation that reaches a kernel to a graph."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler to be sure that it leaves this alone."""
        return False

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.graph = Graph()
        self.constants = torch.nn.Module()
        self._nodes: dict[int, Node] = {}
        self._alive: list[Tensor] = []  # an id stands for one tensor only while that lives
        for number, tensor in enumerate(tensors):
            self._note(tensor, self.graph.placeholder(f"given_{number}"))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do it, and add it."""
        result = func(*args, **(kwargs or {}))
        node = self.graph.call_function(
            func, *tree_map_only(Tensor, self.node, (args, kwargs or {}))
        )
        if isinstance(result, Tensor):
            self._note(result, node)
        else:
            for number, part in enumerate(result):
                if part is not None:  # a gradient that nobody asked for
                    self._note(part, self.graph.call_function(operator.getitem, (node, number)))
        return result

    def node(self, tensor: Tensor) -> Node:
        """The node that gives a tensor; one that was there before is a constant."""
        if id(tensor) not in self._nodes:
            name = f"constant_{len(self._alive)}"
            self.constants.register_buffer(name, tensor.detach())
            self._note(tensor, self.graph.get_attr(name))
        return self._nodes[id(tensor)]

    def _note(self, tensor: Tensor, node: Node) -> None:
        node.meta["layout"] = tensor.shape, tensor.stride()
        node.meta["bytes"] = tensor.numel() * tensor.element_size()
        self._nodes[id(tensor)] = node
        self._alive.append(tensor)
