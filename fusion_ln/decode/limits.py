"""Limits of a picture file, whatever its format, and the messages of one that breaks them."""

import re
from pathlib import Path

from fusion_ln.errors import PictureError

MIN_SIDE = 16  # pixels
MAX_PIXELS = 36_000_000  # width x height; an ultrasound picture has about one million
CONVERT = "Open it in a viewer; if it shows a picture there, save it as 8-bit PNG. Else fetch the file again."
SHRINK = "Save it smaller (an ultrasound picture has about one), or leave it out."


class DamagedError(PictureError):
    """A picture's decoder stopped; the decoder's own words, in brackets, may quote what the file says of a patient."""


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse a picture by the size in its header, before any pixel is decoded."""
    if width * height > MAX_PIXELS:
        raise too_large(path, f"{width} x {height} pixels, more than")
    if min(width, height) < MIN_SIDE:
        raise PictureError(
            f"{path}: {width} x {height} pixels; at least {MIN_SIDE} a side are needed.", CONVERT, "too-small"
        )


def too_large(path: Path, found: str) -> PictureError:
    """Make the error of a picture beyond `MAX_PIXELS`; ``found`` ends in "more than"."""
    return PictureError(f"{path}: {found} {MAX_PIXELS // 10**6} megapixels.", SHRINK, "too-large")


def check_frame(path: Path, frame: int, n_frames: int) -> None:
    """Refuse a frame that the file does not hold; counted from 0."""
    if not 0 <= frame < n_frames:
        raise PictureError(
            f"{path}: frame {frame} was asked for; it holds {n_frames} (counted from 0).", "Choose another `--frame`."
        )


def damaged(path: Path, error: Exception) -> DamagedError:
    """Make the error of a file whose decoder stopped with ``error``."""
    reason = (str(error).splitlines() or [type(error).__name__])[-1]
    reason = re.sub(r" ?<_io[^>]*>", "", reason).strip(" .:")
    return DamagedError(f"{path}: truncated or damaged ({reason}).", CONVERT, "damaged")
