"""Floor of computations: their floating-point operations at the rate of a matrix product on this machine."""

from collections.abc import Callable
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from fusion_ln.bench.record import Figure, seconds

SIDE, TIMES = 2048, 5  # of the matrices, and products of which the fastest counts
FLOOR = "its operations at the rate of a matrix product"


@cache
def matrix_rate(threads: int) -> float:
    """Measure the operations per second of a float32 matrix product."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    matrix = torch.randn(SIDE, SIDE)
    fastest = min(seconds(lambda: matrix @ matrix) for _ in range(TIMES))
    torch.set_num_threads(before)
    return 2 * SIDE**3 / fastest


def count_operations(work: Callable[[], object]) -> int:
    """Count the operations of the matrix products and convolutions of a call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def against_matrices(benchmark: str, task: str, took: float, operations: float) -> Figure:
    """Set a time beside that of its operations at the rate of a matrix product with as many threads."""
    floor = operations / matrix_rate(torch.get_num_threads())
    return Figure(benchmark=benchmark, task=task, seconds=took, floor=FLOOR, floor_seconds=floor)
