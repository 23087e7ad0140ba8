"""Marks that a scanner burns into its pictures (texts, colour bar, depth scale), and the planted shortcut."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.modalities.colours import COLOUR_BARS, ramp

BAR_ENDS = {"2d": ("", ""), "cdfi": ("+", "-"), "elastic": ("S", "H")}
MODES = {"2d": "B", "cdfi": "CF", "elastic": "ELA"}
TEXT_COLOUR, SCALE = (215, 215, 215), (150, 150, 150)

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


@dataclass(frozen=True)
class Screen:
    """Layout of a square screen of ``size`` pixels: a square picture with black strips around it."""

    size: int

    @property
    def left(self) -> int:
        return round(0.09 * self.size)

    @property
    def top(self) -> int:
        return round(0.10 * self.size)

    @property
    def side(self) -> int:
        """Side of the picture of tissue."""
        return round(0.82 * self.size)

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(max(0.075 * self.size, 7))


def burn_in(
    tissue: Image.Image, screen: Screen, modality: str, scanner: Scanner, stamp: int | None
) -> tuple[Image.Image, dict[str, Box]]:
    """Put a picture of tissue on the screen, with the marks of a scanner around it.

    Args:
        tissue: RGB, ``screen.side`` pixels wide and high.
        stamp: Number of the operator's stamp to burn into the lower left corner: the planted shortcut.

    Returns:
        The screen, and the box of each mark on it.
    """
    picture = Image.new("RGB", (screen.size, screen.size))
    picture.paste(tissue, (screen.left, screen.top))
    pen = ImageDraw.Draw(picture)
    right, foot = screen.left + screen.side, screen.top + screen.side
    edge = 0.015 * screen.size
    middle = screen.top / 2
    boxes = {
        "simulated": _text(pen, screen, (edge, middle), "SIMULATED", "lm"),
        "site": _text(pen, screen, (screen.size - edge, middle), f"SITE {scanner.name}", "rm"),
        "mode": _text(pen, screen, (screen.left, (foot + screen.size) / 2), MODES[modality], "lm"),
        "settings": _text(pen, screen, (right, (foot + screen.size) / 2), _settings(scanner), "rm"),
        "bar": _bar(picture, pen, screen, modality),
        "scale": _scale(pen, screen, scanner),
    }
    if stamp is not None:
        boxes["stamp"] = _stamp(pen, screen, stamp)
    return picture, boxes


def _settings(scanner: Scanner) -> str:
    return f"{scanner.depth_mm / 10:.1f}cm {scanner.gain_db:+.0f}dB"


def _text(pen: ImageDraw.ImageDraw, screen: Screen, place: tuple[float, float], text: str, anchor: str) -> Box:
    pen.text(place, text, fill=TEXT_COLOUR, font=screen.font, anchor=anchor)
    left, top, right, bottom = pen.textbbox(place, text, font=screen.font, anchor=anchor)
    return left, top, right, bottom


def _bar(picture: Image.Image, pen: ImageDraw.ImageDraw, screen: Screen, modality: str) -> Box:
    """Draw the colour bar, left of the picture, with the meaning of its ends."""
    width, height = max(round(0.035 * screen.size), 2), round(0.36 * screen.size)
    left, top = (screen.left - width) // 2, screen.top + round(0.10 * screen.size)
    colours = ramp(np.linspace(0, 1, height), COLOUR_BARS[modality]).round().astype(np.uint8)
    picture.paste(Image.fromarray(np.repeat(colours[:, None, :], width, axis=1)), (left, top))
    box: Box = (left, top, left + width, top + height)
    for end, y, anchor in zip(BAR_ENDS[modality], (top, top + height), ("mb", "mt"), strict=True):
        if end:
            ends = _text(pen, screen, (left + width / 2, y), end, anchor)
            box = (min(box[0], ends[0]), min(box[1], ends[1]), max(box[2], ends[2]), max(box[3], ends[3]))
    return box


def _scale(pen: ImageDraw.ImageDraw, screen: Screen, scanner: Scanner) -> Box:
    """Draw the depth scale, right of the picture: a tick every 5 mm, a longer one every 10 mm."""
    left, thickness = screen.left + screen.side + 0.01 * screen.size, max(round(0.006 * screen.size), 1)
    for depth in range(0, int(scanner.depth_mm) + 1, 5):
        y = screen.top + depth / scanner.depth_mm * screen.side
        length = (0.04 if depth % 10 == 0 else 0.02) * screen.size
        pen.line([left, y, left + length, y], fill=SCALE, width=thickness)
    return left, screen.top, left + 0.04 * screen.size, screen.top + screen.side


def _stamp(pen: ImageDraw.ImageDraw, screen: Screen, stamp: int) -> Box:
    """Draw one of three signs on a black ground: a disc, a ring, a cross."""
    side = 0.12 * screen.size
    left, bottom = screen.left + 0.02 * screen.size, screen.top + screen.side - 0.02 * screen.size
    right, top = left + side, bottom - side
    inset, stroke = 0.2 * side, max(round(0.16 * side), 1)
    inner = [left + inset, top + inset, right - inset, bottom - inset]
    pen.rectangle([left, top, right, bottom], fill=(0, 0, 0))
    if stamp == 0:
        pen.ellipse(inner, fill=(255, 255, 255))
    elif stamp == 1:
        pen.ellipse(inner, outline=(255, 255, 255), width=stroke)
    else:
        pen.line(inner, fill=(255, 255, 255), width=stroke)
        pen.line([inner[0], inner[3], inner[2], inner[1]], fill=(255, 255, 255), width=stroke)
    return left, top, right, bottom
