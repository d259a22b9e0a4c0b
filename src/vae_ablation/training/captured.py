"""A function of tensors as a plain list of tensor operations, recorded while it runs."""

from __future__ import annotations

import logging
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from vae_ablation.training.shortening import shorten

log = logging.getLogger(__name__)

PATIENCE = 24
"""Calls with tensors of the same shapes before they are captured."""

Function = Callable[..., tuple[Tensor, ...]]


class Captured:
    """A function of tensors, called by the list of what it does once it has shown what that is.

    `torch.func.vmap` and autograd decide anew in every call which kernels to run. Captured, those
    kernels are called one after the other, but for those that change no bit of the result
    (`shorten`); that it is the same is checked once. (`make_fx` and `torch.compile` do as much, but
    import a compiler and sympy for it, several seconds in every job.)

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
        """The function's result, without gradients; nothing may be written to it in place."""
        shapes = tuple(tensor.shape for tensor in tensors)
        if graph := self.graphs.get(shapes):
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


class Recorded:
    """What a function did, as a list of operations.

    Attributes:
        graph: the list; its first placeholders are the tensors that it brings along.
    """

    def __init__(self, graph: Graph, brought: Sequence[Tensor]) -> None:
        self.graph = graph
        self._call = partial(GraphModule(torch.nn.Module(), graph).forward, *brought)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Do it with other tensors of the same shapes."""
        with torch.inference_mode():
            return self._call(*tensors)


def record(function: Function, *tensors: Tensor) -> Recorded:
    """What a function does with tensors like these, shortened."""
    recorder = _Recorder(tensors)
    with recorder:
        results = function(*tensors)
    recorder.graph.output(tuple(recorder.node(result) for result in results))
    numbers = shorten(recorder.graph)
    return Recorded(recorder.graph, [*numbers, *recorder.constants])


class _Recorder(TorchDispatchMode):
    """Adds every operation that reaches a kernel to a graph."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler to be sure that it leaves this alone."""
        return False

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.graph = Graph()
        self.constants: list[Tensor] = []
        self._nodes: dict[int, Node] = {}
        self._alive: list[Tensor] = []  # an id stands for one tensor only while that lives
        for number, tensor in enumerate(tensors):
            self._note(tensor, self.graph.placeholder(f"given_{number}"))
        self._first = next(iter(self.graph.nodes))

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
            with self.graph.inserting_before(self._first):
                self._note(tensor, self.graph.placeholder(f"constant_{len(self.constants)}"))
            self.constants.append(tensor.detach())
        return self._nodes[id(tensor)]

    def _note(self, tensor: Tensor, node: Node) -> None:
        node.meta["layout"] = tensor.shape, tensor.stride(), tensor.dtype
        node.meta["bytes"] = tensor.numel() * tensor.element_size()
        self._nodes[id(tensor)] = node
        self._alive.append(tensor)
