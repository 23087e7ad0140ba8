"""Memory: what a fit frees stays with its process, and memory that runs out is one message, not PyTorch's errors."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from fusion_ln.errors import SettingsError, in_short

# torch.OutOfMemoryError is a RuntimeError; on a CPU and on Apple's GPU the error has no name of its own.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the next batch asks for the same again; without effect where it cannot.

    By default it hands large tensors back after each step, and the kernel clears every page of them anew: a tenth of
    the time of a small network's fit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def is_out_of_memory(error: BaseException) -> bool:
    """Test whether an error says that a device or the machine has no memory left."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
    )


@contextmanager
def memory_named(work: str, batch_size: int) -> Iterator[None]:
    """Name the work that the memory does not hold.

    Raises:
        SettingsError: In place of PyTorch's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SettingsError(
            f"{work}: the memory does not hold batches of {batch_size} ({in_short(error)}).",
            "Give smaller batches (`--batch-size`, of heads `--set head.batch_size=N`), smaller pictures "
            "(`--image-size`), a smaller `--backbone` or fewer `--workers`, with another `--out`.",
        ) from None
