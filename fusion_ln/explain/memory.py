"""Batches of perturbed pictures that shrink until the memory holds them."""

from collections.abc import Callable
from typing import TypeVar

from fusion_ln.compute.memory import is_out_of_memory
from fusion_ln.errors import SettingsError
from fusion_ln.explain.network import Case
from fusion_ln.progress import say

AT_ONCE, MOST_AT_ONCE = 32, 128  # versions of a patient that are computed together, where memory allows
PIXELS = AT_ONCE * 128**2  # of a modality, which more versions of small pictures fill: they keep the processor busier

T = TypeVar("T")


def within_memory(compute: Callable[[int], T], case: Case) -> T:
    """Call ``compute`` with a batch size, and halve the size, with a message, while memory runs out.

    Args:
        compute: Function of the number of versions that are computed together.
        case: The patient, whose smaller pictures go in larger batches.

    Raises:
        SettingsError: If a single version does not fit.
    """
    largest = max(picture[0, :, 0].numel() for picture in case.pictures)
    at_once = min(max(AT_ONCE, PIXELS // largest), MOST_AT_ONCE)
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
