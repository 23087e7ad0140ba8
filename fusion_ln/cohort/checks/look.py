"""What a check of a cohort sees in one picture."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fusion_ln.cohort.checks.colours import coloured_share
from fusion_ln.cohort.checks.duplicates import thumbnail
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.regions.screen import STRAIN, has_seam
from fusion_ln.decode.picture import burned_in_text
from fusion_ln.errors import FusionLNError
from fusion_ln.files.hashes import hash_file
from fusion_ln.terms import CROP_BY, IMAGE, PATH, SHA256

SCREEN_SIDE = 190  # pixels of the longer side of a screen made small
BY_PIXELS = ("screen", "frame", "whole", "box", "dicom")  # boxes that may hold two panes; not what somebody looked at


@dataclass(frozen=True)
class Look:
    """Properties of one picture that a check compares."""

    digest: bytes  # SHA-256 of its pixels
    thumbnail: np.ndarray
    coloured: float  # share of pixels
    brightness: tuple[int, int]  # 1st and 99th percentile
    burned_in: bool | None  # None where the file cannot say it
    changed: bool
    screen: bytes  # see `CheckResult`
    has_seam: bool  # between a grey and a coloured side, though its box is not that of a pane


def look_at_picture(cohort: Cohort, row: Mapping[str, Any]) -> Look | FusionLNError:
    """Read a picture of a cohort, given by its row of the table of pictures; returns why it cannot be read."""
    try:
        path = cohort.picture_path(row[PATH])
        whole = cohort.read_file(row[IMAGE])
        pixels = cohort.prepare(row[IMAGE], whole)
    except FusionLNError as error:
        return error
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    colours = coloured_share(pixels)
    return Look(
        digest=digest.digest(),
        thumbnail=thumbnail(pixels),
        brightness=_brightness(pixels),
        burned_in=burned_in_text(path),
        coloured=colours,
        changed=hash_file(path) != row[SHA256],
        screen=_small(whole) if cohort.is_cropped else b"",
        has_seam=row.get(CROP_BY) in BY_PIXELS and colours >= STRAIN / 2 and has_seam(pixels),
    )


def _small(pixels: np.ndarray) -> bytes:
    """Make a picture small, as JPEG."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((SCREEN_SIDE, SCREEN_SIDE), reducing_gap=1)
    image.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def _brightness(pixels: np.ndarray) -> tuple[int, int]:
    """Compute the 1st and the 99th percentile of the brightest channel of pixels (H, W, 3)."""
    brightest = np.empty(pixels.shape[:2], np.uint8)  # a maximum over an axis of 3 is slow
    np.maximum(pixels[..., 0], pixels[..., 1], out=brightest)
    np.maximum(brightest, pixels[..., 2], out=brightest)
    counts = np.cumsum(Image.fromarray(brightest).histogram())
    low, high = np.searchsorted(counts, [0.01 * counts[-1], 0.99 * counts[-1]])
    return int(low), int(high)
