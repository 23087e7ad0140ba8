"""Precision that suits a network: what ``auto`` becomes where bf16 would slow it down."""

from collections.abc import Iterable

from fusion_ln.models.rehearsal import rehearse
from fusion_ln.settings.training import FitSettings, Precision

# Measured in experiments/benchmarks/precision.md: bf16 speeds up all networks below it, and slows down all above.
MOST_DEPTHWISE = 0.002


def suited_precision(precision: Precision, networks: Iterable[FitSettings], accelerator: str) -> Precision:
    """Choose float32 in place of ``auto`` where a network computes with many depthwise convolutions on a CPU.

    No processor's matrix instructions serve them, and torch computes them slower in bf16 than in float32. They have
    few multiplications, so that their outputs tell what they cost.

    Args:
        precision: The setting.
        networks: Settings of the networks.
        accelerator: Kind of device.

    Returns:
        The setting, or ``32-true``.
    """
    if precision != "auto" or accelerator != "cpu":
        return precision
    slowed = any(rehearse(fit.backbone, fit.image_size).depthwise > MOST_DEPTHWISE for fit in networks)
    return "32-true" if slowed else precision
