"""Augmentation that keeps a lymph node's class: on whole batches, on the device, with random parameters per picture."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion_ln.terms import COLOUR_MODALITIES

ROTATION = math.radians(10)
ZOOM = 0.1
SHIFT = 0.05  # share of the picture's side
GAIN = 0.2  # change of contrast; half of it for brightness; grey scale only


def augment(pictures: Tensor, modality: str, strength: float = 1.0) -> Tensor:
    """Rotate, zoom, shift and mirror every picture at random; for grey scale also change brightness and contrast.

    Pictures are never flipped vertically, since depth runs downwards, and the colours of Doppler and elastography are
    never changed, since their hue and brightness are the measurement. Draws from torch's global generator.

    Args:
        pictures: float in [0, 1], shape (B, 3, H, W), on any device.
        modality: Name of the modality.
        strength: Factor of every amount; mirroring is independent of it.

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
    """Draw maps from output to input coordinates, one per picture. Shape (B, 2, 3)."""
    angle = _uniform(n, strength * ROTATION, device)
    zoom = 1 + _uniform(n, strength * ZOOM, device)
    mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    shift = [2 * _uniform(n, strength * SHIFT, device) for _ in range(2)]  # coordinates run from -1 to 1
    rows = [torch.stack([cos * mirror, -sin, shift[0]], 1), torch.stack([sin * mirror, cos, shift[1]], 1)]
    return torch.stack(rows, 1)


def _uniform(n: int, bound: float, device: torch.device) -> Tensor:
    return (torch.rand(n, device=device) * 2 - 1) * bound
