"""Batches of perturbed pictures that shrink until the memory holds them."""

from collections.abc import Callable
from typing import TypeVar

from fusion_ln.compute.memory import is_out_of_memory
from fusion_ln.errors import SettingsError
from fusion_ln.progress import say

AT_ONCE = 32  # versions of a patient that are computed together, where memory allows

T = TypeVar("T")


def within_memory(compute: Callable[[int], T]) -> T:
    """Call ``compute`` with a batch size, and halve the size, with a message, while memory runs out.

    Raises:
        SettingsError: If a single version does not fit.
    """
    at_once = AT_ONCE
    while True:
        try:
            return compute(at_once)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if at_once == 1:
            raise SettingsError(
                "The memory does not hold a forward and a backward pass of one picture.",
                "Choose `--method gradcam`, which keeps only the last stage, or a machine with more memory.",
            )
        at_once //= 2
        say(f"Out of memory: continuing with batches of {at_once} versions of a picture.")
