"""The resize of the ONNX graph is that of the pictures that networks learn from."""

import numpy as np
import onnxruntime
import pytest
import torch

from fusion_ln.export.letterbox import letterbox
from fusion_ln.export.tracing import trace_module
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


def test_a_square_of_the_graph_is_pillows_to_the_bit(rng):
    """At sizes whose ratio to the square's no float32 holds."""

    class Letterbox(torch.nn.Module):
        def forward(self, pictures):
            return letterbox(pictures, 64).float()

    start = torch.zeros(2, 40, 50, 3, dtype=torch.uint8)
    axes = {"pictures": {0: "batch", 1: "height", 2: "width"}}
    proto = trace_module(Letterbox(), (start,), ["pictures"], ["squares"], axes)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for height, width in ((75, 91), (130, 57), (41, 50)):
        pictures = rng.integers(0, 256, (20, height, width, 3), dtype=np.uint8)
        expected = np.stack([prepare_picture(each, 64) for each in pictures])
        assert (session.run(None, {"pictures": pictures})[0] == expected).all()
