"""Where and how precisely a model is computed."""

import logging
from pathlib import Path

import torch
from lightning_fabric import Fabric

from fusion_ln.errors import SettingsError
from fusion_ln.settings import Precision


def make_fabric(device: str = "auto", devices: int = 1, precision: Precision = "auto") -> Fabric:
    """Set up Lightning Fabric for one process or, with several devices, distributed data parallel.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: Number of devices of that kind.
        precision: ``auto`` takes bf16 where the device is fast at it.

    Raises:
        SettingsError: If the machine has no such device, or fewer of them.
    """
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if accelerator == "cuda" and torch.cuda.device_count() < devices:
        raise SettingsError(
            f"--device cuda --devices {devices}: this machine has {torch.cuda.device_count()} GPUs that torch can use.",
            "Give `--device cpu`, or fewer devices.",
        )
    chosen = precision if precision != "auto" else ("bf16-mixed" if _fast_at_bf16(accelerator) else "32-true")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision, as run.json does
    fabric = Fabric(
        accelerator=accelerator, devices=devices, strategy="ddp" if devices > 1 else "auto", precision=chosen
    )
    fabric.launch()
    return fabric


def precision_of(fabric: Fabric) -> str:
    """The precision that ``auto`` became."""
    return str(fabric._precision.precision)


def _fast_at_bf16(accelerator: str) -> bool:
    """Whether bf16 has instructions of its own here; emulated, it is slower than float32."""
    if accelerator == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
