"""Simulated colour Doppler: vessels drawn red (towards the probe) and blue (away) in a colour box."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fusion_ln.cohort.phantom.modalities.bmode import Patch
from fusion_ln.cohort.phantom.modalities.colours import AWAY, TOWARDS, ramp
from fusion_ln.cohort.phantom.neck import Node

Vessel = tuple[np.ndarray, float]  # path in units of the node's semi-axes (K, 2), radius in millimetres


def flow_colours(grey: np.ndarray, patch: Patch, node: Node, flow: str, rng: np.random.Generator) -> np.ndarray:
    """Lay the flow of a node over a grey-scale picture.

    Args:
        grey: Grey values in [0, 1]. Shape (H, W).
        flow: ``none``, ``hilar``, ``peripheral`` or ``mixed``.

    Returns:
        RGB in [0, 255]. Shape (H, W, 3).
    """
    speeds = [Image.new("L", (patch.pixels, patch.pixels)) for _ in range(2)]
    pens = [ImageDraw.Draw(speed) for speed in speeds]
    for path, radius in _vessels(flow, rng):
        direction = int(rng.integers(2))
        points = node.place(path[:, 0], path[:, 1]) * patch.pixels_per_mm
        for start, end in pairwise(points):
            width = radius * rng.uniform(0.8, 1.2) * patch.pixels_per_mm
            _stroke(pens[direction], start, end, width)
    for _ in range(rng.poisson(3)):  # colour noise: specks anywhere in the box
        speck = rng.uniform(0.2, 0.8, 2) * patch.pixels
        _stroke(pens[int(rng.integers(2))], speck, speck + 1, rng.uniform(0.1, 0.2) * patch.pixels_per_mm)
    picture = np.repeat(grey[:, :, None] * 255, 3, axis=2)
    blur = ImageFilter.GaussianBlur(0.3 * patch.pixels_per_mm)
    for speed, colours in zip(speeds, (TOWARDS, AWAY), strict=True):
        value = np.asarray(speed.filter(blur), dtype=np.float32) / 255
        seen = np.clip(value * 4 - 0.8, 0, 1)[:, :, None]
        picture += (ramp(np.clip(value * 1.1, 0, 1), colours) - picture) * seen
    return picture


def _stroke(pen: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, radius: float) -> None:
    """Draw a line with round ends."""
    pen.line([*start, *end], fill=255, width=max(round(2 * radius), 1))
    for x, y in (start, end):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)


def _vessels(flow: str, rng: np.random.Generator) -> Iterator[Vessel]:
    if flow in ("hilar", "mixed"):
        yield from _tree(int(rng.integers(3, 6)), rng)
    if flow in ("peripheral", "mixed"):
        yield from _rim(int(rng.integers(5, 8)), rng)


def _tree(branches: int, rng: np.random.Generator) -> Iterator[Vessel]:
    """Draw a trunk that enters across the long side and branches in the middle of the node."""
    side = rng.choice([-1, 1])
    trunk = np.linspace([rng.uniform(-0.25, 0.25), side * 1.05], [0, 0], 5)
    trunk[1:-1] += rng.normal(0, 0.04, (3, 2))
    yield trunk, rng.uniform(0.55, 0.75)
    angles = np.linspace(0, 2 * np.pi, branches, endpoint=False) + rng.uniform(0, 2 * np.pi)
    for angle in angles + rng.normal(0, 0.2, branches):
        tip = rng.uniform(0.4, 0.58) * np.array([np.cos(angle), np.sin(angle)])
        branch = np.linspace([0, 0], tip, 4)
        branch[1:] += rng.normal(0, 0.04, (3, 2))
        yield branch, rng.uniform(0.35, 0.55)


def _rim(arcs: int, rng: np.random.Generator) -> Iterator[Vessel]:
    """Draw arcs along the capsule, some dipping a little into the node."""
    starts = np.linspace(0, 2 * np.pi, arcs, endpoint=False) + rng.uniform(0, 2 * np.pi)
    for start in starts + rng.normal(0, 0.12, arcs):
        angle = start + np.linspace(0, rng.uniform(0.4, 0.75), 6)
        radius = rng.uniform(0.88, 0.98) + rng.normal(0, 0.02, 6)
        yield np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), rng.uniform(0.4, 0.6)
