"""Boxes: the part of a picture file that is a picture, in pixels of the file."""

from typing import NamedTuple

import numpy as np

from fusion_ln.decode.limits import MIN_SIDE

EXPECTED_BOX = "X,Y,WIDTH,HEIGHT in pixels, such as 120,60,640,480"


class Box(NamedTuple):
    """A rectangle of whole pixels, ``x`` and ``y`` counted from the upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def area(self) -> int:
        return self.width * self.height

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Cut the box out of a picture (H, W, ...)."""
        return np.ascontiguousarray(pixels[self.y : self.bottom, self.x : self.right])

    def intersection(self, other: "Box") -> "Box":
        """Make the box of what two boxes share; without area if that is nothing."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        return Box(x, y, max(min(self.right, other.right) - x, 0), max(min(self.bottom, other.bottom) - y, 0))

    def common(self, other: "Box") -> int:
        """Count the pixels that two boxes share."""
        return self.intersection(other).area

    def within(self, width: int, height: int) -> str:
        """Describe why the box is no part of a picture of this size; empty if it is one."""
        if self.x < 0 or self.y < 0 or self.right > width or self.bottom > height:
            return f"box {self} lies outside the picture, which is {width} x {height} pixels"
        if min(self.width, self.height) < MIN_SIDE:
            return f"box {self} is smaller than {MIN_SIDE} pixels a side"
        return ""


def whole(pixels: np.ndarray) -> Box:
    """Make the box of a whole picture (H, W, ...)."""
    return Box(0, 0, pixels.shape[1], pixels.shape[0])


def span(boxes: list[Box]) -> Box:
    """Make the smallest box that holds some boxes."""
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    return Box(x, y, max(box.right for box in boxes) - x, max(box.bottom for box in boxes) - y)


def is_pixels(text: str) -> bool:
    """Test if a text is a whole number of pixels, such as no picture goes beyond."""
    return text.isascii() and text.isdecimal() and len(text) < 7


def parse_box(text: str) -> Box:
    """Read ``x,y,width,height``.

    Raises:
        ValueError: If it is none, saying why.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(map(is_pixels, parts)):
        raise ValueError(f"{text!r} is no box; expected {EXPECTED_BOX}")
    return Box(*map(int, parts))
