"""Colour scales of Doppler, elastography and the colour bar beside a picture."""

import numpy as np


def _scale(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array(colours, dtype=np.float32)


# Doppler, from slow to fast flow.
TOWARDS = _scale((150, 0, 0), (235, 30, 10), (255, 190, 40))
AWAY = _scale((0, 0, 150), (20, 50, 240), (70, 210, 255))
SOFT_TO_HARD = _scale((215, 25, 25), (250, 150, 20), (225, 225, 40), (40, 190, 60), (20, 170, 190), (25, 40, 210))
# The colour bar of each modality, from its top to its foot.
COLOUR_BARS = {
    "2d": _scale((255, 255, 255), (0, 0, 0)),
    "cdfi": np.concatenate([TOWARDS[::-1], _scale((0, 0, 0)), AWAY]),
    "elastic": SOFT_TO_HARD,
}


def ramp(value: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Interpolate colours along a ramp: ``value`` in [0, 1], shape (...), -> RGB of shape (..., 3)."""
    steps = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(value, steps, colours[:, channel]) for channel in range(3)], axis=-1)
