"""One picture of one modality, drawn from nothing but the findings that this modality shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fusion_ln.cohort.phantom.marks import Box, Screen, burn_in
from fusion_ln.cohort.phantom.modalities.bmode import Patch, Scanner, scan
from fusion_ln.cohort.phantom.modalities.doppler import flow_colours
from fusion_ln.cohort.phantom.modalities.elastogram import strain_colours
from fusion_ln.cohort.phantom.neck import Node, Outline, draw_outline, grey_scale_node, neck, plain_node

FINEST = 192  # tissue is drawn on at least as many pixels, then averaged: the same look at every size


@dataclass(frozen=True)
class NodeSize:
    """Semi-axes of a patient's node in millimetres: the same in all pictures of that patient."""

    semi_long: float
    semi_short: float


@dataclass(frozen=True)
class Picture:
    """A picture and the places of its parts, in pixels.

    Attributes:
        image: RGB, square.
        node: Centre x and y, semi-axes and angle [degrees, clockwise from the horizontal to the long axis].
        outline: Points around the node, x and y. Shape (K, 2).
        marks: Boxes of the burned-in marks.
    """

    image: Image.Image
    node: dict[str, float]
    outline: np.ndarray
    marks: dict[str, Box]


def render_patient(
    modality: str,
    findings: Mapping[str, Any],
    node_size: NodeSize,
    scanner: Scanner,
    *,
    size: int,
    stamp: int | None,
    rng: np.random.Generator,
) -> Picture:
    """Draw a picture of ``size`` x ``size`` pixels.

    Args:
        findings: The findings that ``modality`` shows, and no others: so no other can be seen. The shape is that of
            ``node_size``.
        stamp: The planted shortcut, see `burn_in`.
    """
    screen = Screen(size)
    finer = math.ceil(FINEST / size)
    patch = Patch(screen.side * finer, scanner.depth_mm)
    node = _place(node_size, patch, rng)
    tissue = neck(patch, rng, vessel=modality == "2d")  # in the colour box it would need its own colour
    outline = None
    if modality == "2d":
        outline = draw_outline(findings["margin"], rng)
        tissue = grey_scale_node(tissue, patch, node, outline, findings, rng)
    else:
        tissue = plain_node(tissue, patch, node)
    grey = scan(tissue, patch, scanner, rng)
    colour = _colour(modality, grey, patch, node, findings, rng)
    image = Image.fromarray(np.clip(colour, 0, 255).round().astype(np.uint8)).reduce(finer)
    image, marks = burn_in(image, screen, modality, scanner, stamp)
    return Picture(image, *_in_pixels(node, outline, patch, screen), marks)


def _place(node_size: NodeSize, patch: Patch, rng: np.random.Generator) -> Node:
    """Lay the node about the middle of the patch, its long axis about level."""
    x, y = patch.side_mm * rng.uniform([0.43, 0.52], [0.57, 0.60])
    return Node(float(x), float(y), node_size.semi_long, node_size.semi_short, float(rng.uniform(-0.35, 0.35)))


def _colour(
    modality: str, grey: np.ndarray, patch: Patch, node: Node, findings: Mapping[str, Any], rng: np.random.Generator
) -> np.ndarray:
    """Colour a picture, within the modality's box only. RGB in [0, 255], shape (H, W, 3)."""
    plain = np.repeat(255 * grey[:, :, None], 3, axis=2)
    if modality == "2d":
        return plain
    if modality == "cdfi":
        coloured, border = flow_colours(0.85 * grey, patch, node, findings["flow"], rng), (200, 200, 200)
    else:
        coloured, border = strain_colours(grey, patch, node, findings["elastography_score"], rng), (230, 200, 60)
    box = patch.pixels * rng.uniform([0.03, 0.20, 0.95, 0.93], [0.05, 0.26, 0.97, 0.97])
    left, top, right, bottom = box.astype(int)
    plain[top:bottom, left:right] = coloured[top:bottom, left:right]
    boxed = Image.fromarray(np.clip(plain, 0, 255).astype(np.uint8))
    line = max(round(0.2 * patch.pixels_per_mm), 1)
    ImageDraw.Draw(boxed).rectangle([left, top, right, bottom], outline=border, width=line)
    return np.asarray(boxed)


def _in_pixels(
    node: Node, outline: Outline | None, patch: Patch, screen: Screen
) -> tuple[dict[str, float], np.ndarray]:
    scale = screen.side / patch.side_mm
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = outline.radius(angle) if outline else np.ones_like(angle)
    points = node.place(radius * np.cos(angle), radius * np.sin(angle)) * scale + [screen.left, screen.top]
    geometry = {
        "node_x": node.x * scale + screen.left,
        "node_y": node.y * scale + screen.top,
        "node_semi_long": node.semi_long * scale,
        "node_semi_short": node.semi_short * scale,
        "node_angle": math.degrees(node.angle),
    }
    return geometry, points
