"""A traced function of tensors: its operations are recorded once per input shape and replayed."""

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
from torch.fx.node import map_aggregate

from vae_ablation.common.torch_private import TorchDispatchMode
from vae_ablation.training.simplify import simplify_

log = logging.getLogger(__name__)

PATIENCE = 24
"""Calls with tensors of the same shapes before they are traced."""

Function = Callable[..., tuple[Tensor, ...]]


class Traced:
    """A function that is traced once per input shape, after a few calls; the trace is replayed.

    `torch.func.vmap` and autograd decide anew in every call which kernels to run. A trace calls
    those kernels one after the other, but for those that change no bit of the result (`simplify_`);
    that its results are the same bits is checked once. A function that cannot be traced, or whose
    trace gives other numbers, is called as it is, and a warning says so once. (`make_fx` and
    `torch.compile` import a compiler and sympy, several seconds in every job.)

    Args:
        function: of tensors alone; it must do the same operations whatever their values, and
            differentiates, if it does, within itself.
        patience: calls with the same shapes before they are traced.

    Attributes:
        traces: by the shapes of the arguments; the function itself where it cannot be traced.
    """

    def __init__(self, function: Function, patience: int = PATIENCE) -> None:
        self.function = function
        self.patience = patience
        self.traces: dict[tuple[torch.Size, ...], Function] = {}
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The function's result, without gradients; it must not be written to in place."""
        shapes = tuple(tensor.shape for tensor in tensors)
        if trace := self.traces.get(shapes):
            return trace(*tensors)
        self._calls[shapes] += 1
        if self._calls[shapes] <= self.patience:
            return self.function(*tensors)
        expected = self.function(*tensors)
        self.traces[shapes] = self._checked_trace(tensors, expected) or self.function
        return expected

    def _checked_trace(
        self, tensors: tuple[Tensor, ...], expected: tuple[Tensor, ...]
    ) -> Function | None:
        """The trace for these shapes; None if there is none or its results are not `expected`."""
        try:
            trace = record(self.function, *(torch.zeros_like(tensor) for tensor in tensors))
            results = trace(*tensors)
        except Exception as error:
            self._warn("a step cannot be traced and runs as it is: %r", error)
            return None
        pairs = zip(expected, results, strict=True)
        if all(torch.allclose(*pair, rtol=0, atol=0, equal_nan=True) for pair in pairs):
            return trace
        self._warn("a traced step gives other numbers than the step, which runs as it is")
        return None

    def _warn(self, message: str, *arguments: object) -> None:
        """Log a warning, for the first shape alone."""
        if self.function not in self.traces.values():
            log.warning(message, *arguments)


class Trace:
    """The operations of a function, replayed when called.

    Attributes:
        graph: the operations; its first placeholders are the tensors that the trace brings along.
    """

    def __init__(self, graph: Graph, constants: Sequence[Tensor]) -> None:
        self.graph = graph
        self._call = partial(GraphModule(torch.nn.Module(), graph).forward, *constants)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The results for other tensors of the same shapes."""
        with torch.inference_mode():
            return self._call(*tensors)


def record(function: Function, *tensors: Tensor) -> Trace:
    """The simplified trace of a function for tensors of these shapes."""
    recorder = _Recorder(tensors)
    with recorder:
        results = function(*tensors)
    recorder.graph.output(tuple(recorder.node(result) for result in results))
    numbers = simplify_(recorder.graph)
    return Trace(recorder.graph, [*numbers, *recorder.constants])


class _Recorder(TorchDispatchMode):
    """Adds every operation that reaches a kernel to a graph."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: else torch would import its compiler, to keep it away from this class.

        Where torch does not ask this, all works as well, a few seconds later.
        """
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
        """Do an operation, and add it to the graph."""
        result = func(*args, **(kwargs or {}))
        arguments: Any = map_aggregate((tuple(args), kwargs or {}), self._as_node)
        node = self.graph.call_function(func, *arguments)
        if isinstance(result, Tensor):
            self._note(result, node)
        else:
            for number, part in enumerate(result):
                if part is not None:  # a gradient that nobody asked for
                    self._note(part, self.graph.call_function(operator.getitem, (node, number)))
        return result

    def _as_node(self, argument: Any) -> Any:
        return self.node(argument) if isinstance(argument, Tensor) else argument

    def node(self, tensor: Tensor) -> Node:
        """The node that gives a tensor; a tensor from outside becomes a constant."""
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
