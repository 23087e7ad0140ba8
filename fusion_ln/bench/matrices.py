"""Floor of computations: their floating-point operations at the rate of a matrix product on this machine."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fusion_ln.bench.record import Figure, seconds
from fusion_ln.images.batches import HOST

SIDES, TIMES = {"cpu": 2048, "cuda": 8192}, 5  # of the matrices, and products of which the fastest counts
FLOOR = "its operations at the rate of a matrix product"


@cache
def matrix_rate(threads: int, device: torch.device = HOST, dtype: torch.dtype = torch.float32) -> float:
    """Measure the operations per second of a matrix product."""
    before, side = torch.get_num_threads(), SIDES[device.type]
    torch.set_num_threads(threads)
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    fastest = min(seconds(lambda: _multiply(matrix)) for _ in range(TIMES))
    torch.set_num_threads(before)
    return 2 * side**3 / fastest


def _multiply(matrix: torch.Tensor) -> None:
    torch.mm(matrix, matrix)
    if matrix.is_cuda:
        torch.cuda.synchronize()


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count of operations; without torch's own tracking of modules, which takes no `torch.autograd.grad`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func._overloadpacket not in flop_registry:
            with self:  # in inference mode operations come whole, with those that count within
                out = func.decompose(*args, **named)
            return func(*args, **named) if out is NotImplemented else out
        out = func(*args, **named)
        self.total += flop_registry[func._overloadpacket](*args, **named, out_val=out)
        return out


def count_operations(work: Callable[[], object]) -> int:
    """Count the operations of the matrix products and convolutions of a call in this thread."""
    with _Operations() as counter:
        work()
    return int(counter.total)


def against_matrices(benchmark: str, task: str, took: float, operations: float) -> Figure:
    """Set a time beside that of its operations at the rate of a matrix product with as many threads."""
    floor = operations / matrix_rate(torch.get_num_threads())
    return Figure(benchmark=benchmark, task=task, seconds=took, floor=FLOOR, floor_seconds=floor)
