"""Tissue in the patch of neck: skin, fat, muscle, a vessel, and the lymph node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion_ln.cohort.phantom.modalities.bmode import Patch, blend, smooth_noise, soft_step

IRREGULAR_HARMONICS = range(6, 13)  # waves around an irregular outline


@dataclass(frozen=True)
class Node:
    """A lymph node: an ellipse in the patch, in millimetres; ``angle`` [rad] turns its long axis clockwise."""

    x: float
    y: float
    semi_long: float
    semi_short: float
    angle: float

    def axes(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """Compute the position along the long and the short axis, in units of the semi-axes. Each of shape (H, W)."""
        dx, dy = patch.x - self.x, patch.y - self.y
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return (dx * cos + dy * sin) / self.semi_long, (dy * cos - dx * sin) / self.semi_short

    def place(self, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """Invert `axes`: points in units of the semi-axes -> millimetres (x, y). Shape (..., 2)."""
        u, v = np.asarray(along) * self.semi_long, np.asarray(across) * self.semi_short
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + u * cos - v * sin, self.y + u * sin + v * cos], axis=-1)

    def distance(self, patch: Patch, outline: "Outline | None" = None) -> np.ndarray:
        """Compute about the distance from the outline in millimetres, negative inside. Shape (H, W)."""
        u, v = self.axes(patch)
        radius = np.hypot(u, v)
        edge = outline.radius(np.arctan2(v, u)) if outline else 1.0
        return np.asarray((radius - edge) * (self.semi_long * self.semi_short) ** 0.5)


@dataclass(frozen=True)
class Outline:
    """Departure of an irregular outline from the ellipse: a sum of waves around it."""

    amplitudes: np.ndarray
    phases: np.ndarray

    def radius(self, angle: np.ndarray) -> np.ndarray:
        """Compute the radius of the outline in units of the ellipse's, at ``angle`` [rad] from the long axis."""
        radius = np.ones_like(angle)
        for harmonic, size, phase in zip(IRREGULAR_HARMONICS, self.amplitudes, self.phases, strict=True):
            radius += size * np.cos(harmonic * angle + phase)
        return radius


def draw_outline(margin: str, rng: np.random.Generator) -> Outline | None:
    """Draw the outline of a node with this margin; none: the ellipse itself."""
    n_waves = len(IRREGULAR_HARMONICS)
    sizes, phases = rng.uniform(0.03, 0.075, n_waves), rng.uniform(0, 2 * np.pi, n_waves)
    return Outline(sizes, phases) if margin == "irregular" else None


def neck(patch: Patch, rng: np.random.Generator, *, vessel: bool) -> np.ndarray:
    """Draw the echo strength [dB] of neck without a node; ``vessel``: perhaps with a large one. Shape (H, W)."""
    skin, fat, muscle = rng.uniform(1.0, 1.6), rng.uniform(3.5, 5.5), rng.uniform(8.0, 10.5)
    tilt = rng.uniform(-0.06, 0.06) * (patch.x - patch.side_mm / 2)
    depth = patch.y + tilt + 0.35 * smooth_noise(patch, rng, 9, 30)
    echo = -21 + 2.0 * smooth_noise(patch, rng, 4, 2.5) + 1.5 * smooth_noise(patch, rng, 1.5, 1)
    sheets = smooth_noise(patch, rng, 12, 2.2)
    echo = echo + 8 * np.exp(-((sheets / 0.15) ** 2))  # connective tissue below the muscle
    echo = blend(echo, _muscle(patch, depth, rng), soft_step(depth - muscle, 0.6))
    lobules = smooth_noise(patch, rng, 5, 1.2)
    echo = blend(echo, -30 + 11 * np.exp(-((lobules / 0.25) ** 2)), soft_step(depth - fat, 0.4))
    for border in (fat, muscle):
        echo = np.maximum(echo, -6 - ((depth - border) / 0.28) ** 2 * 6)
    echo = blend(echo, -7.0, soft_step(depth - skin, 0.3))
    if vessel:
        echo = _vessel(echo, patch, rng)
    return np.asarray(echo - 0.12 * patch.y)  # deeper echoes are weaker


def _muscle(patch: Patch, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw dark muscle with bright fibres along it."""
    slope, spacing = rng.uniform(-0.12, 0.12), rng.uniform(0.9, 1.3)
    phase = (depth + slope * patch.x) / spacing + 0.35 * smooth_noise(patch, rng, 8, 2)
    fibres = np.clip(np.cos(2 * np.pi * phase), 0, 1) ** 3 * np.clip(smooth_noise(patch, rng, 5, 1) + 0.6, 0, 1)
    return np.asarray(-31 + 10 * fibres)


def _vessel(echo: np.ndarray, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    """Draw a large vessel, cut across, in a lower corner: black with a bright wall. Not in every picture."""
    side, seen = rng.choice([0.06, 0.94]), rng.random() < 0.7
    x, y, radius = side * patch.side_mm, rng.uniform(0.86, 0.95) * patch.side_mm, rng.uniform(2.6, 3.4)
    distance = np.hypot(patch.x - x, patch.y - y) - radius
    if not seen:
        return echo
    echo = np.maximum(echo, -5 - (distance / 0.3) ** 2 * 6)
    return blend(echo, -60.0, soft_step(distance + 0.5, 0.4))


def plain_node(echo: np.ndarray, patch: Patch, node: Node) -> np.ndarray:
    """Put a node into ``echo`` that shows its shape and nothing else: no hilum, no capsule, even texture."""
    return blend(echo, -40.0, soft_step(node.distance(patch), 0.5))


def grey_scale_node(
    echo: np.ndarray,
    patch: Patch,
    node: Node,
    outline: Outline | None,
    findings: Mapping[str, Any],
    rng: np.random.Generator,
) -> np.ndarray:
    """Put a node into ``echo`` that shows its hilum, margin (by ``outline``) and texture.

    Args:
        echo: Echo strength of the patch [dB]. Shape (H, W).
        findings: ``hilum`` and ``texture``; levels as in the phantom's tables.
    """
    distance = node.distance(patch, outline)
    interior = _texture(findings["texture"], patch, rng)
    interior = _hilum(interior, findings["hilum"], patch, node, rng)
    if outline is None:
        echo = np.maximum(echo, -9 - (distance / 0.3) ** 2 * 5)  # the capsule
        return blend(echo, interior, soft_step(distance + 0.3, 0.35))
    return blend(echo, interior, soft_step(distance, 1.0))


def _texture(level: str, patch: Patch, rng: np.random.Generator) -> np.ndarray:
    if level == "homogeneous":
        return -36 + smooth_noise(patch, rng, 3)
    if level == "reticulated":  # nearly black, with a fine bright mesh
        mesh = np.minimum(np.abs(smooth_noise(patch, rng, 1.2)), np.abs(smooth_noise(patch, rng, 1.2)))
        return np.asarray(-52 + 24 * np.exp(-((mesh / 0.16) ** 2)))
    fluid = soft_step(-(smooth_noise(patch, rng, 2.6) - 0.55), 0.4)  # necrosis: black lakes
    specks = soft_step(-(smooth_noise(patch, rng, 0.9) - 1.75), 0.3)  # calcification: bright specks
    return blend(blend(-35 + 3 * smooth_noise(patch, rng, 1.5), -58.0, fluid), -2.0, specks)


def _hilum(interior: np.ndarray, level: str, patch: Patch, node: Node, rng: np.random.Generator) -> np.ndarray:
    """Draw the bright hilum: a broad core, a thin band off the centre, or none."""
    shift = rng.uniform(-0.1, 0.1, 2)
    off_centre = rng.choice([-1, 1]) * rng.uniform(0.25, 0.35)
    if level == "absent":
        return interior
    u, v = node.axes(patch)
    ragged = 0.08 * smooth_noise(patch, rng, 1.5)
    if level == "preserved":
        radius = np.hypot((u - shift[0]) / 0.56, (v - shift[1]) / 0.46) + ragged
    else:
        radius = np.hypot((u - shift[0]) / 0.46, (v - off_centre) / 0.16) + ragged
    return blend(interior, -13 + 2 * smooth_noise(patch, rng, 1), soft_step(radius - 1, 0.25))
