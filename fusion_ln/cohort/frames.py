"""Frames of a cine that become pictures: evenly spaced ones, or the best of each part of it."""

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from fusion_ln.cohort.checks.colours import coloured
from fusion_ln.cohort.head import FRAMES
from fusion_ln.cohort.regions.box import Box
from fusion_ln.decode.cine import Cine
from fusion_ln.errors import PictureError, SettingsError
from fusion_ln.files.atomic import write_bytes
from fusion_ln.files.names import as_file_name
from fusion_ln.terms import FLOW_MODALITIES

BEST = "best"
EXPECTED = f"Expected a whole number from 1, `{BEST}`, or `{BEST}:N`."
LARGEST = 10_000  # frames of a cine
CELL = 8  # pixels
AT_REST = 1.0  # grey level of 255, between the cells of the frames before and after one


@dataclass(frozen=True)
class FrameRule:
    """A rule that chooses frames of a cine, by itself: no other cine matters.

    The cine is cut into ``n`` equal parts. ``best`` takes of each part, among the half of its frames that move least
    and all that are at rest, the one with most flow, of colour Doppler (share of coloured pixels), or else the sharpest
    (variance of the Laplacian); else it is the middle of each part.
    """

    n: int
    best: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``4``, ``best`` or ``best:4``.

        Raises:
            SettingsError: If it is none of them.
        """
        word, colon, number = text.strip().rpartition(":")
        if text.strip() == BEST:
            return cls(1, best=True)
        if (word, colon) not in (("", ""), (BEST, ":")) or not (number.isascii() and number.isdecimal()):
            raise SettingsError(f"--frames {text!r}: neither a number nor `{BEST}`.", EXPECTED)
        if len(number) > len(str(LARGEST)) or not 1 <= int(number) <= LARGEST:
            raise SettingsError(f"--frames {text!r}: {number} frames of each cine.", EXPECTED)
        return cls(int(number), best=bool(word))

    def __str__(self) -> str:
        if not self.best:
            return str(self.n)
        return BEST if self.n == 1 else f"{BEST}:{self.n}"

    def take(self, cine: Cine, modality: str, box: Box | None = None) -> list[tuple[int, np.ndarray]]:
        """Choose frames of a cine and decode them.

        Args:
            cine: A cine.
            modality: Of what it shows: flow tells the frames of colour Doppler.
            box: Part of each frame that is looked at; None: all of it.

        Returns:
            Number, counted from 0, and pixels of each, the whole frame. uint8, shape (H, W, 3).

        Raises:
            PictureError: If the cine has fewer frames than are wanted, or one cannot be decoded.
        """
        if cine.n_frames < self.n:
            raise PictureError(
                f"{cine.path}: holds {cine.n_frames} frame{'s' * (cine.n_frames != 1)}; `--frames {self}` takes "
                f"{self.n} of each cine.",
                "Ask for fewer frames.",
            )
        if not self.best:
            return list(cine.read({int((part + 0.5) * cine.n_frames / self.n) for part in range(self.n)}))
        edges = [part * cine.n_frames // self.n for part in range(self.n + 1)]
        looks = _Looks(cine, box)
        by_flow = modality in FLOW_MODALITIES
        return list(cine.read({looks.best(range(*part), by_flow=by_flow) for part in pairwise(edges)}))


def store_frame(cohort: Path, path: str, number: int, pixels: np.ndarray) -> str:
    """Write a frame of the cine ``path`` to a cohort as PNG, so that the cohort needs no video reader.

    Returns:
        Its path, relative to the cohort.

    Raises:
        RunError: If it cannot be written.
    """
    place = Path(FRAMES, as_file_name(path), f"{number}.png")
    write_bytes(cohort / place, encode_frame(pixels))
    return place.as_posix()


def encode_frame(pixels: np.ndarray) -> bytes:
    """Encode a frame as the PNG that a cohort keeps of it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


class _Looks:
    """Sharpness, motion and flow of every frame of a cine.

    Attributes:
        sharpness: Variance of the Laplacian. Shape (N,).
        flow: Share of coloured pixels. Shape (N,).
        motion: Mean difference of the frames beside it, in grey levels of cells: how sharp it is itself plays no part.
            Cells with colour do not count, since flow pulses while the tissue rests. Shape (N,).
    """

    def __init__(self, cine: Cine, box: Box | None) -> None:
        sharpness, flow, steps = list[float](), list[float](), list[float]()
        last = list[tuple[np.ndarray, np.ndarray]]()  # cells of up to two frames before
        for _, whole in cine.read(range(cine.n_frames)):
            pixels = box.cut(whole) if box else whole
            grey, hued = pixels[..., 1], coloured(pixels)
            sharpness.append(_sharpness(grey.astype(np.int16)))
            flow.append(float(hued.mean()))
            now = _cells(grey), _cells(hued) > 0
            if len(last) == 2:
                steps.append(_step(last[0], now))
            last = [*last[-1:], now]
        self.sharpness, self.flow = np.array(sharpness), np.array(flow)
        self.motion = np.array([*steps[:1], *steps, *steps[-1:]] or [0.0] * len(flow))

    def best(self, frames: range, *, by_flow: bool) -> int:
        """Choose the best of some frames; of several, the first."""
        numbers = np.array(frames)
        calm = numbers[self.motion[numbers] <= max(AT_REST, np.median(self.motion[numbers]))]
        order = (self.flow if by_flow else self.sharpness)[calm]
        return int(calm[order.argmax()])


def _cells(pixels: np.ndarray) -> np.ndarray:
    """Compute the mean of each cell of pixels (H, W)."""
    height, width = (side // CELL for side in pixels.shape)
    means: np.ndarray = pixels[: height * CELL, : width * CELL].reshape(height, CELL, width, CELL).mean((1, 3))
    return means


def _step(before: tuple[np.ndarray, np.ndarray], now: tuple[np.ndarray, np.ndarray]) -> float:
    """Compute the mean difference of two frames' cells, those with colour left out."""
    grey = ~(before[1] | now[1])
    return float(np.abs(now[0] - before[0])[grey].mean()) if grey.any() else 0.0


def _sharpness(grey: np.ndarray) -> float:
    """Compute the variance of the Laplacian of a grey picture, int16 (H, W)."""
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).var())
