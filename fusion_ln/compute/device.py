"""Device and precision of a computation."""

from pathlib import Path

import torch

from fusion_ln.errors import SettingsError
from fusion_ln.images.bank import free_memory
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import Precision
from fusion_ln.threads import cores

USED_SHARE = 0.9  # of a GPU's free memory, by fits side by side
MOST_ON_GPU = 5  # fits side by side, which fill it


def accelerator_of(settings: DeviceSettings) -> str:
    """Return the kind of device, with ``auto`` resolved on this machine: ``cpu`` or ``cuda``."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if settings.device == "auto" else settings.device


def check_device(settings: DeviceSettings) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        SettingsError: If there is no such device, or fewer of them.
    """
    if accelerator_of(settings) == "cuda" and torch.cuda.device_count() < settings.devices:
        raise SettingsError(
            f"--device cuda --devices {settings.devices}: this machine has {torch.cuda.device_count()} GPUs that "
            "torch can use.",
            "Give `--device cpu`, or fewer devices.",
        )


def fits_at_once(settings: DeviceSettings, n_fits: int, memory: int = 0) -> int:
    """Return the number of ``n_fits`` that run side by side.

    On a GPU a fit waits for its core, for validation, for the disk; others beside it fill the gaps.

    Args:
        settings: The device.
        n_fits: Number of fits.
        memory: Bytes of a GPU's memory that each takes; 0: not known, so that one runs at a time unless users say more.
    """
    if settings.processes > 1:
        return 1
    room = cores() if accelerator_of(settings) == "cpu" else _room_on_gpu(memory)
    return max(1, min(settings.workers or room, n_fits))


def _room_on_gpu(memory: int) -> int:
    """Return the number of fits that the free memory of the GPU holds, at most one per core."""
    if not memory or not torch.cuda.is_available():
        return 1
    return min(cores(), MOST_ON_GPU, int(USED_SHARE * free_memory(torch.device("cuda"))) // memory)


def check_batch(settings: DeviceSettings, batch_size: int) -> None:
    """Refuse a total batch size that the processes of a fit cannot share equally.

    Raises:
        SettingsError: Naming the nearest size that works.
    """
    n = settings.processes
    if n > 1 and (batch_size % n or batch_size < 2 * n):
        raise SettingsError(
            f"--batch-size {batch_size}: cannot be split into {n} equal parts of at least 2 pictures, one per process "
            f"(--devices {settings.devices} --nodes {settings.nodes}).",
            f"Give a multiple, such as `--batch-size {max(2, round(batch_size / n)) * n}`.",
        )


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Open the autocast context of a precision, where no Fabric does."""
    fast = precision == "bf16-mixed" or (precision == "auto" and fast_at_bf16(device.type))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def fast_at_bf16(accelerator: str) -> bool:
    """Test if bf16 has instructions of its own here; emulated, it is slower than float32."""
    if accelerator == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
