"""Refusals of weights whose values are none, or whose position tables timm cannot resize."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fusion_ln.errors import WeightsError
from fusion_ln.models.weights.match import Match


def refuse_no_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold NaN, infinity, or a variance below 0.

    Raises:
        WeightsError: Naming the first such tensor.
    """
    if name := first_not_finite(tensors):
        raise WeightsError(f"{path}: {name} holds values that are not finite numbers.", "Give another weight file.")
    for name, tensor in tensors.items():
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise WeightsError(f"{path}: {name} holds variances below 0.", "Give another weight file.")


def refuse_oblong(path: Path, found: Match, shapes: Mapping[str, torch.Size]) -> None:
    """Refuse a position table of another size that is of no square grid: timm resizes from squares.

    Raises:
        WeightsError: Naming the first such tensor.
    """
    for name in found.resized:
        if name.endswith("pos_embed") and found.tensors[name].ndim == 3:
            held, wanted = found.tensors[name].shape[1], shapes[name][1]
            beside = wanted - math.isqrt(wanted) ** 2  # class token and registers, of a network for square pictures
            if not any(math.isqrt(held - taken) ** 2 == held - taken for taken in (0, 1, beside) if held > taken):
                raise WeightsError(
                    f"{path}: {name} has {held} places, which are no square grid; the network's has {wanted}.",
                    "Give a file that was trained on square pictures.",
                )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Find the first tensor that holds NaN or infinity."""
    return next((name for name, tensor in tensors.items() if not _is_finite(tensor)), None)


def _is_finite(tensor: Tensor) -> bool:
    """Test if all values are finite. A finite sum says so, and takes a fraction of the time of looking at each."""
    return not tensor.is_floating_point() or bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())
