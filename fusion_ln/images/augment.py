"""Changes that a lymph node's class survives, on whole batches, on the device, with its own parameters per picture."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion_ln.terms import COLOUR_MODALITIES

ROTATION = math.radians(10)
ZOOM = 0.1
SHIFT = 0.05  # share of the picture's side
GAIN = 0.2  # change of brightness and of contrast, grey scale only


def augment(pictures: Tensor, modality: str, strength: float = 1.0) -> Tensor:
    """Turn, zoom, shift and mirror every picture at random; for grey scale also change gain and contrast.

    Never upside down, since depth runs downwards; and never the colours of Doppler or elastography, since
    their hue and brightness are the measurement. Draws from torch's global generator.

    Args:
        pictures: float in [0, 1], shape (B, 3, H, W), on any device.
        modality: Name of the modality.
        strength: Every amount is multiplied by it; mirroring stays as it is.

    Returns:
        Same shape and range.
    """
    moved = F.grid_sample(
        pictures,
        F.affine_grid(_affine(len(pictures), strength, pictures.device), list(pictures.shape), align_corners=False),
        align_corners=False,
    )
    if modality in COLOUR_MODALITIES:
        return moved
    contrast = 1 + _uniform(len(moved), strength * GAIN, pictures.device).view(-1, 1, 1, 1)
    brightness = _uniform(len(moved), strength * GAIN / 2, pictures.device).view(-1, 1, 1, 1)
    return moved.mul_(contrast).add_(brightness).clamp_(0, 1)


def _affine(n: int, strength: float, device: torch.device) -> Tensor:
    """Random maps from output to input coordinates, one per picture: all of it in one resampling. Shape (B, 2, 3)."""
    angle = _uniform(n, strength * ROTATION, device)
    zoom = 1 + _uniform(n, strength * ZOOM, device)
    mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    shift = [2 * _uniform(n, strength * SHIFT, device) for _ in range(2)]  # coordinates run from -1 to 1
    rows = [torch.stack([cos * mirror, -sin, shift[0]], 1), torch.stack([sin * mirror, cos, shift[1]], 1)]
    return torch.stack(rows, 1)


def _uniform(n: int, bound: float, device: torch.device) -> Tensor:
    return (torch.rand(n, device=device) * 2 - 1) * bound
