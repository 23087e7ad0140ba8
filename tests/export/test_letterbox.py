"""The resize of the ONNX graph is that of the pictures that networks learn from."""

import numpy as np
import pytest
import torch

from fusion_ln.export.letterbox import letterbox
from fusion_ln.images.prepare import prepare_picture


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [
        (40, 40, 32),
        (32, 32, 32),
        (37, 100, 32),
        (480, 640, 64),
        (31, 17, 64),
        (1, 1, 32),
        (1, 90, 32),
        (33, 32, 32),
        (100, 37, 32),
        (130, 57, 64),
        (90, 1, 32),
    ],
)
def test_a_square_is_pillows_to_the_bit(rng, height, width, side):
    """Of black, white and noise, so that sums leave 0..255 and rounding has ties."""
    noise = rng.integers(0, 256, (2, height, width, 3))
    pictures = np.where(rng.random(noise.shape) < 0.5, noise, 255 * (noise > 127)).astype(np.uint8)
    expected = np.stack([prepare_picture(each, side) for each in pictures])
    assert (letterbox(torch.from_numpy(pictures), side).numpy() == expected).all()
