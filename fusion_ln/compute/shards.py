"""Shards: equal parts of every training batch, computed side by side by one thread each."""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

R = TypeVar("R")


@contextmanager
def in_shards(model: nn.Module, original: nn.Module, fabric: Fabric, n: int) -> Iterator[nn.Module]:
    """Cut every training batch of a model into ``n`` shards while the context is open; one: the model as it is.

    A small network's batch gains little from a second thread, and much from a second batch beside it. Where processes
    share a fit, the part of each is its shard already.

    Args:
        model: The model as the device runs it.
        original: The model that ``model`` wraps, whose weights learn.
        fabric: The device.
        n: Number of shards.
    """
    if n == 1 or fabric.world_size > 1:
        yield model
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        copies = [copy.deepcopy(original) for _ in range(n - 1)]
        for twin in copies:
            for own, shared in zip(twin.parameters(), original.parameters(), strict=True):
                own.data = shared.data  # one set of weights, whose gradients are the copies' own
        yield Sharded([model, *map(fabric.setup_module, copies)], pool)
    torch.set_num_threads(threads)  # those of later threads, too


class Sharded(nn.Module):
    """A model whose training batches are cut into as many shards as it has copies.

    Gradients are those of the whole batch, but for batch norms, each of which sees its shard alone; their running
    statistics are the mean over the shards. Sums have one order, so that results are the same however many cores
    compute. A model that draws random numbers (dropout), which all threads take from one generator, computes its
    shards one after another.
    """

    def __init__(self, copies: Sequence[nn.Module], pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)
        self._pool = pool
        self._modes: list[bool] = []  # of the modules
        self._side_by_side: bool | None = None  # None: not known before the first batch in these modes

    def forward(self, batch: Tensor, *further: Any) -> Tensor:
        """Compute logits (B, C) of a batch; what is ``further`` goes to every shard."""
        if not (self.training and torch.is_grad_enabled()):
            logits: Tensor = self.copies[0](batch, *further)
            return logits
        modes = [module.training for module in self.copies[0].modules()]
        if modes != self._modes:  # a part of the model may rest in the first epochs
            self._modes, self._side_by_side = modes, None
        _follow(self.copies)
        anchor = torch.empty(0, device=batch.device, requires_grad=True)
        joined: Tensor = _Joined.apply(self, anchor, batch, further)
        return joined

    def run(self, function: Callable[[int], R]) -> list[R]:
        """Call a function of the number of each shard, each in a thread of its own."""
        if self._side_by_side is None:
            before = torch.get_rng_state()
            results = [self._pool.submit(function, number).result() for number in range(len(self.copies))]
            on_host = next(self.copies[0].parameters()).device.type == "cpu"  # other devices have other generators
            self._side_by_side = on_host and torch.equal(before, torch.get_rng_state())
            return results
        if not self._side_by_side:
            return [self._pool.submit(function, number).result() for number in range(len(self.copies))]
        return list(self._pool.map(function, range(len(self.copies))))


class _Joined(torch.autograd.Function):
    """Outputs of all shards as one, for one backward pass: autograd would go through them one after another."""

    @staticmethod
    def forward(ctx: Any, sharded: Sharded, anchor: Tensor, batch: Tensor, further: tuple[Any, ...]) -> Tensor:
        parts = batch.tensor_split(len(sharded.copies))

        def compute(number: int) -> Tensor:
            with torch.enable_grad():
                output: Tensor = sharded.copies[number](parts[number], *further)
                return output

        ctx.sharded, ctx.outputs = sharded, sharded.run(compute)
        return torch.cat([output.detach() for output in ctx.outputs])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        sharded, outputs = ctx.sharded, ctx.outputs
        parts = torch.split(gradients[0], [len(output) for output in outputs])
        sharded.run(lambda number: torch.autograd.backward(outputs[number], parts[number]))
        for parameter, *others in zip(*(each.parameters() for each in sharded.copies), strict=True):
            for other in others:
                if other.grad is not None:
                    parameter.grad = other.grad if parameter.grad is None else parameter.grad.add_(other.grad)
                    other.grad = None
        _average_statistics(sharded.copies)  # not before: autograd would find them changed
        return None, None, None, None


def _follow(copies: Sequence[nn.Module] | nn.ModuleList) -> None:
    """Set the copies as the first one is: statistics, modes, and what learns."""
    first, *others = copies
    with torch.no_grad():
        for other in others:
            for own, shared in zip(other.buffers(), first.buffers(), strict=True):
                own.copy_(shared)
            for module, model in zip(other.modules(), first.modules(), strict=True):
                module.training = model.training
            for twin, parameter in zip(other.parameters(), first.parameters(), strict=True):
                twin.requires_grad_(parameter.requires_grad)


def _average_statistics(copies: Sequence[nn.Module] | nn.ModuleList) -> None:
    """Set the running statistics of batch norms to their mean over the copies; what counts batches is the same."""
    with torch.no_grad():
        for modules in zip(*(each.modules() for each in copies), strict=True):
            if not modules[0].training:
                continue
            for own, *others in zip(*(module.buffers(recurse=False) for module in modules), strict=True):
                if own.is_floating_point():
                    own.copy_(torch.stack([own, *others]).mean(dim=0))
