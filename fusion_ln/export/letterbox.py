"""`prepare_picture` as operators on tensors: a picture of any size becomes the square that a network takes.

A resize is a matrix product along each axis, of the width first. Pillow rounds its weights to 22 bits and each product
to a byte, and so does this, which in float64 is exact.
"""

import torch
from torch import Tensor

WEIGHT_STEPS = 2.0**22  # Pillow's PRECISION_BITS
SUPPORT = 2.0  # pixels on either side that bicubic interpolation reads


def letterbox(pictures: Tensor, side: int) -> Tensor:
    """Resize pictures into squares and keep their proportions.

    Args:
        pictures: uint8, shape (B, H, W, 3).
        side: S, pixels a side.

    Returns:
        float64 in whole numbers 0..255, shape (B, 3, S, S), black beside the picture.
    """
    height, width = _size_of(pictures, 1), _size_of(pictures, 2)
    full = torch.full_like(height, side)
    rows = torch.where(width > height, torch.round(height / width * side), full)
    columns = torch.where(height > width, torch.round(width / height * side), full)
    planes = pictures.permute(0, 3, 1, 2).double()
    across = _whole(planes @ resize_weights(width, columns, side, pictures.shape[2], axis=0))
    return _whole(resize_weights(height, rows, side, pictures.shape[1], axis=1) @ across)


def resize_weights(size: Tensor, kept: Tensor, side: int, length: int, *, axis: int) -> Tensor:
    """Compute Pillow's weights of antialiased bicubic interpolation along one axis.

    Args:
        size: Pixels of the picture, as float64.
        kept: Pixels that it is resized to, in the middle of ``side``; for 0 every weight is 0.
        side: Pixels of the square.
        length: ``size`` as a number.
        axis: Of the picture's pixels. A transposed matrix is none that onnxruntime 1.23 multiplies in float64.

    Returns:
        From pixels of the picture to pixels of the square. float64, shape (length, side) or, for 1, (side, length).
    """
    place = torch.arange(side, dtype=torch.float64) - torch.round((side - kept) / 2)
    scale = size / kept.clamp(min=1)
    stretch = scale.clamp(min=1)
    centre = (place + 0.5) * scale
    pixel = torch.arange(length, dtype=torch.float64) + 0.5
    weights = _bicubic((pixel.unsqueeze(1 - axis) - centre.unsqueeze(axis)).abs() / stretch)
    weights = weights / weights.sum(axis, keepdim=True).clamp(min=1e-9)
    inside = (place >= 0) & (place < kept)
    return torch.where(inside.unsqueeze(axis), _half_away(weights * WEIGHT_STEPS) / WEIGHT_STEPS, 0.0)


def _size_of(pictures: Tensor, axis: int) -> Tensor:
    """Count the pixels along an axis in a tensor, so that it may differ from picture to picture. float64, shape (1,).

    The tracer would compute with a tensor without axes in float32.
    """
    line = pictures.select(0, 0).select(-1, 0).select(2 - axis, 0)
    return torch.ones_like(line, dtype=torch.float64).sum(0, keepdim=True)


def _bicubic(away: Tensor) -> Tensor:
    """Weigh pixels by their distance (Keys 1981, a = -0.5)."""
    near = (1.5 * away - 2.5) * away * away + 1
    far = (((away - 5) * away + 8) * away - 4) * -0.5
    return torch.where(away < 1, near, torch.where(away < SUPPORT, far, 0.0))


def _half_away(values: Tensor) -> Tensor:
    return values.sign() * (values.abs() + 0.5).floor()


def _whole(values: Tensor) -> Tensor:
    """Round to whole numbers 0..255."""
    return (values + 0.5).floor().clamp(0, 255)
