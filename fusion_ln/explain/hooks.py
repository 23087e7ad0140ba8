"""Hooks on the layers of a network: what they return is read or replaced."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def outputs_of(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect what each layer returns, in the order of ``layers``, while the context is open."""
    outputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, inputs: Any, out: Tensor) -> None:
        outputs[module] = out

    hooks = [layer.register_forward_hook(keep) for layer in dict.fromkeys(layers)]
    collected: list[Tensor] = []
    try:
        yield collected
        collected += [outputs[layer] for layer in layers]
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def outputs_through(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Hand what a layer returns through a function while the context is open."""

    def replace(module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return change(out)

    hook = layer.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()
