"""Memory that runs out: one message, not PyTorch's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from fusion_ln.errors import SettingsError, in_short

# torch.OutOfMemoryError is a RuntimeError; on a CPU and on Apple's GPU the error has no name of its own.
SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


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
