"""Regions of a picture: the node, the tissue, and everything burned in by the scanner.

They come from the truth of a phantom. Other cohorts have no masks; there three rules serve, on the original pixels:

- *Burned-in* is a stroke, see `fusion_ln.cohort.regions.text`.
- *Picture* (of tissue) is the longest run of rows, and within them of columns, in which grey values vary, strokes left
  out. The rest is the frame.
- *Node* is the middle of the picture, `MIDDLE` of its width and height.

The rules miss dotted lines of callipers, and letters on equally bright tissue; dark tissue at the edge of a picture
counts as frame.
"""

import numpy as np
import pandas as pd
from scipy import ndimage

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.phantom.marks import Box, Screen
from fusion_ln.cohort.phantom.truth import load_truth
from fusion_ln.cohort.regions.text import find_strokes
from fusion_ln.errors import CohortError
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.terms import HEIGHT, IMAGE, WIDTH
from fusion_ln.threads import map_with_progress

# One bit each, so that one byte per pixel holds all.
NODE, PICTURE, BURNED_IN = 1, 2, 4

MIDDLE = 0.8  # contains 98 % of the area of the 61 lesions with masks in our sample of BUSI
NODE_MARGIN = 0.02  # of the width, around the largest node of a phantom

VARIES = 4.0  # standard deviation of grey values: more than compression leaves of an even ground


def find_regions(cohort: Cohort, modality: str, side: int) -> np.ndarray:
    """Find the regions of every picture of a modality, on the pixels of its image bank.

    The node region has the same size in all pictures of a cohort, that of its largest node: a hole of the node's own
    size would show its shape.

    Args:
        cohort: Phantom, whose truth is used, or another cohort, whose pictures are read.
        modality: Modality of the cohort.
        side: Pixels a side of the bank.

    Returns:
        Sum of `NODE`, `PICTURE` and `BURNED_IN` at each pixel. uint8, shape (N, 1, side, side), in the order of
        `fusion_ln.images.bank.open_bank`.

    Raises:
        CohortError: If the modality is absent.
        PictureError: If a picture cannot be read.
    """
    images = cohort.images_of(modality)
    known = _read_truth(cohort)
    if known is not None:
        truth, half = known
        regions = [
            cohort.cut(image, _regions_by_truth(truth.loc[image], half, (int(height), int(width))))
            for image, height, width in zip(images[IMAGE], images[HEIGHT], images[WIDTH], strict=True)
        ]
        return np.stack([_prepare(each, side) for each in regions])

    def by_rule(image: str) -> np.ndarray:
        return _prepare(regions_by_rule(cohort.read_picture(image)), side)

    return np.stack(list(map_with_progress(f"Finding texts, {modality}", by_rule, images[IMAGE].tolist())))


def knows_truth(cohort: Cohort) -> bool:
    """Check that the outlines and marks of the cohort are known, as they are for a phantom."""
    return _read_truth(cohort) is not None


def regions_by_rule(picture: np.ndarray) -> np.ndarray:
    """Find the regions of a picture (H, W, 3) by the rules of this module. uint8, shape (H, W)."""
    strokes = find_strokes(picture)
    left, top, right, bottom = _find_picture(picture, strokes)
    regions = np.zeros(picture.shape[:2], dtype=np.uint8)
    regions[top:bottom, left:right] |= PICTURE
    across, down = (1 - MIDDLE) / 2 * (right - left), (1 - MIDDLE) / 2 * (bottom - top)
    _add(regions, NODE, (left + across, top + down, right - across, bottom - down))
    regions[ndimage.binary_dilation(strokes, iterations=2)] |= BURNED_IN  # with their soft edges
    return regions


def _find_picture(picture: np.ndarray, strokes: np.ndarray) -> tuple[int, int, int, int]:
    """Find the box (left, top, right, bottom) of the tissue; the whole picture if nothing varies."""
    grey = np.ma.masked_array(
        picture.mean(axis=2, dtype=np.float32), mask=ndimage.binary_dilation(strokes, iterations=2)
    )
    top, bottom = _longest_run(grey.std(axis=1).filled(0) > VARIES)
    left, right = _longest_run(grey[top:bottom].std(axis=0).filled(0) > VARIES)
    return left, top, right, bottom


def _longest_run(mask: np.ndarray) -> tuple[int, int]:
    """Find start and end of the longest run of True; the whole range if there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, len(mask)
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int(ends[longest])


def _read_truth(cohort: Cohort) -> tuple[pd.DataFrame, tuple[float, float]] | None:
    """Read a phantom's truth by picture, and half the size of its largest node as shares of width and height."""
    if not cohort.simulated:
        return None
    try:
        truth = load_truth(cohort).pictures.set_index(IMAGE)
    except CohortError:  # simulated organs have no outlines
        return None
    truth = truth.join(cohort.images.set_index(IMAGE)[[WIDTH, HEIGHT]])
    across, down = (
        max(np.ptp(points) / 2 / size for points, size in zip(truth[outline], truth[length], strict=True))
        for outline, length in (("outline_x", WIDTH), ("outline_y", HEIGHT))
    )
    return truth, (across + NODE_MARGIN, down + NODE_MARGIN)


def _regions_by_truth(truth: pd.Series, half: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """Draw the regions (H, W) of a phantom's picture; marks lie over the node and are no part of it."""
    height, width = shape
    regions = np.zeros(shape, dtype=np.uint8)
    screen = Screen(width)
    right, foot = screen.left + screen.side, screen.top + screen.side
    _add(regions, PICTURE, (screen.left, screen.top, right, foot))
    x, y = truth["node_x"], truth["node_y"]
    across, down = half[0] * width, half[1] * height
    _add(regions, NODE, (x - across, y - down, x + across, y + down))
    for mark in truth["marks"]:
        _add(regions, BURNED_IN, (mark["left"], mark["top"], mark["right"] + 1, mark["bottom"] + 1))
    regions[(regions & PICTURE == 0) | (regions & BURNED_IN > 0)] &= ~np.uint8(NODE)
    return regions


def _add(regions: np.ndarray, region: int, box: Box) -> None:
    """Add a region to all pixels that the box touches."""
    left, top = (max(int(np.floor(edge)), 0) for edge in box[:2])
    right, bottom = (int(np.ceil(edge)) for edge in box[2:])
    regions[top:bottom, left:right] |= region


def _prepare(regions: np.ndarray, side: int) -> np.ndarray:
    """Resize regions as `prepare_picture` resizes the picture: (H, W) to (1, side, side).

    A mark keeps every pixel that it touches; other regions keep pixels that they cover by at least half.
    """
    parts = (NODE, PICTURE, BURNED_IN)
    share = prepare_picture(np.stack([255 * (regions & part > 0).astype(np.uint8) for part in parts], axis=2), side)
    fitted = np.zeros((1, side, side), dtype=np.uint8)
    for part, coverage, least in zip(parts, share, (128, 128, 16), strict=True):
        fitted[0][coverage >= least] |= part
    return fitted
