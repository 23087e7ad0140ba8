"""The picture part of a scanner's screen, by its pixels alone.

A screen is looked at in cells, `CELLS` along its longer side. A cell is *textured* if its grey values spread: speckle
is; letterboxes, banners and the ground beside a sector are even. The *core* is the largest connected patch of texture
that is at least `THICK` of the shorter side thick, so that texts, colour bars and depth scales are no part of it. From
the core the box grows over lines of which `GROWS` of the cells are not quite flat (shadowed depth is dark, not flat),
and ends at the first that is. Two patches of nearly one size side by side are *panes*, and so are the two sides of a
*seam*, a line near the middle of one patch over which grey values jump from top to bottom; in a file that is known to
show two, panes may also lie above each other. Over the pictures of `FEWEST` patients or more that have one size, what
never changes is the screen's *frame* and no texture.

A text that touches the picture stays; and where less than `LEAST` of a screen is found, it stays whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are first used
from PIL import Image

from fusion_ln.cohort.checks.colours import COLOURED_FROM, coloured_share
from fusion_ln.cohort.regions.box import Box, span, whole

CELLS = 128
EVEN = 6  # grey values of 255 within an even cell: more than JPEG leaves of an even ground
FLAT = 1  # within a flat one
THICK = 0.06  # of the shorter side
BLOCK = 8  # pixels by which JPEG smears the edge of a picture
GROWS = 0.12  # share of cells that are not flat: the ticks of a depth scale have less
LEAST = 0.1  # of the screen's area
ALIKE = 0.75  # least ratio of the sides of two panes, and least share of the lines that they have in common
STRAIN = 0.02  # least share of coloured pixels in a coloured pane
SEAM = 0.4  # least share of lines that jump at a seam: 0.49 and more of made ones, at most 0.30 of 134 real pictures
SEAM_PART = 0.25  # the same within each quarter of a seam that is known to be one
SURE = 0.8  # and of one that is not: the edge of a colour box, a line, seldom crosses all of them
JUMPS = 0.9  # quantile of the steps around that a jump exceeds
SEAM_LINES = 256  # that are looked at
FEWEST = 10
CHANGES = 2  # grey values by which a cell that is no frame differs between pictures


@dataclass(frozen=True)
class Cells:
    """A screen in cells.

    Attributes:
        side: Pixels a side of a cell.
        grey: Grey value of each pixel. uint8, shape (H, W).
        means: Mean of each cell. uint8, shape (R, C).
        spread: Largest less smallest grey value of each cell. uint8, shape (R, C).
        patches: Thick patches of texture, the largest first, in cells.
    """

    side: int
    grey: np.ndarray
    means: np.ndarray
    spread: np.ndarray
    patches: list[Box]


def look_at(pixels: np.ndarray) -> Cells:
    """Divide a screen (H, W, 3) into cells."""
    image = Image.fromarray(pixels).convert("L")
    side = _cell_side(*image.size)
    grey, means = np.asarray(image), np.asarray(image.reduce(side))
    highest, lowest = (_by_cell(extreme, grey, side) for extreme in (np.maximum, np.minimum))
    spread = highest - lowest
    return Cells(side, grey, means, spread, _patches(spread, EVEN, FLAT))


def find_part(cells: Cells) -> Box:
    """Find the box of the picture part; of two panes, of both. The whole screen where there is nothing to cut."""
    everything = whole(cells.grey)
    if not cells.patches:
        return everything
    first_two = cells.patches[:2]
    box = _pixels(span(first_two if _side_by_side(first_two) else first_two[:1]), cells)
    return box if box.area >= LEAST * everything.area else everything


def find_panes(pixels: np.ndarray, cells: Cells, *, stated: bool = False) -> tuple[Box, Box] | None:
    """Find a grey and a coloured pane of nearly one size, in this order; None if there are none.

    They lie side by side or, where it is ``stated`` that there are two, one above the other: a picture above a spectrum
    looks like such panes. Panes that touch, or nearly, are one patch with a seam; where they are not ``stated`` it must
    be one all along, as a gap is.
    """
    first_two = cells.patches[:2]
    if _side_by_side(first_two) or (stated and _side_by_side([_turned(box) for box in first_two])):
        return grey_and_coloured(pixels, [_pixels(box, cells) for box in first_two])
    if not first_two or coloured_share(pixels[::4, ::4]) < STRAIN * LEAST / 4:  # most are grey, and soon done
        return None
    one = _pixels(first_two[0], cells)
    for turned in (False, True) if stated else (False,):
        box = _turned(one) if turned else one
        if seam := _find_seam(box.cut(cells.grey.T if turned else cells.grey), SEAM_PART if stated else SURE):
            ends = ((0, seam[0]), (seam[1], box.width))
            sides = [Box(box.x + start, box.y, end - start, box.height) for start, end in ends]
            if found := grey_and_coloured(pixels, [_turned(side) if turned else side for side in sides]):
                return found
    return None


def has_seam(pixels: np.ndarray) -> bool:
    """Test if a picture, uint8 (H, W, 3), may be two panes that touch: a grey and a coloured one, as if stated."""
    return find_panes(pixels, look_at(pixels), stated=True) is not None


def grey_and_coloured(pixels: np.ndarray, panes: Sequence[Box]) -> tuple[Box, Box] | None:
    """Order two boxes of a picture as the grey and the coloured one; None unless they are that."""
    (least, grey), (most, coloured) = sorted((coloured_share(box.cut(pixels)), box) for box in panes)
    return (grey, coloured) if least < COLOURED_FROM and most >= STRAIN else None


def find_unframed(lowest: np.ndarray, highest: np.ndarray, size: tuple[int, int]) -> Box | None:
    """Find the part that changes between screens of one size.

    Args:
        lowest, highest: Extremes of the mean of each cell. Shape (R, C).
        size: Width and height of the screens in pixels.

    Returns:
        Its box, to a cell; None if too little changes.
    """
    found = _patches(highest - lowest, CHANGES, CHANGES)
    side, (width, height) = _cell_side(*size), size
    if not found or found[0].area * side**2 < LEAST * width * height:
        return None
    return Box(*(edge * side for edge in found[0])).intersection(Box(0, 0, width, height))


def _cell_side(width: int, height: int) -> int:
    return max(2, round(max(width, height) / CELLS))


def _by_cell(extreme: np.ufunc, grey: np.ndarray, side: int) -> np.ndarray:
    """Reduce grey values to an extreme of each cell, of which the last in a row or column may be cut off."""
    by_row = _by_lines(extreme, grey, side)
    return _by_lines(extreme, np.ascontiguousarray(by_row.T), side).T


def _by_lines(extreme: np.ufunc, values: np.ndarray, side: int) -> np.ndarray:
    """Reduce every ``side`` lines to one: lines are contiguous, which takes a fraction of the time."""
    n_whole = len(values) // side * side
    found = extreme.reduce(values[:n_whole].reshape(-1, side, values.shape[1]), axis=1)
    return np.concatenate([found, extreme.reduce(values[n_whole:])[None]]) if n_whole < len(values) else found


def _patches(spread: np.ndarray, even: int, flat: int) -> list[Box]:
    """Find the thick patches of cells that are not even, grown over those not flat, largest first; in cells."""
    labels, _ = scipy.ndimage.label(thick_parts(spread > even))
    counts = np.bincount(labels.ravel())
    boxes = [
        Box(across.start, down.start, across.stop - across.start, down.stop - down.start)
        for down, across in scipy.ndimage.find_objects(labels)
    ]
    order = sorted(range(len(boxes)), key=lambda number: -counts[number + 1])
    return [_grow(spread > flat, boxes[number]) for number in order]


def thick_parts(lively: np.ndarray) -> np.ndarray:
    """Keep what is dense in lively cells and `THICK` of the shorter side thick in both directions."""
    thick = max(3, round(THICK * min(lively.shape)) | 1)
    return _windows(_windows(_mostly(lively), thick, np.logical_and), thick, np.logical_or)


def _mostly(cells: np.ndarray) -> np.ndarray:
    """Test if most of a cell and the eight around it, those of the edge being repeated beyond it, are true."""
    counts = _framed(cells.view(np.uint8), 1, 0)
    counts[0], counts[-1] = counts[1], counts[-2]
    counts[:, 0], counts[:, -1] = counts[:, 1], counts[:, -2]
    counts = counts[:-2] + counts[1:-1] + counts[2:]
    return np.asarray(counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:] > 9 / 2)


def _windows(cells: np.ndarray, side: int, of: np.ufunc) -> np.ndarray:
    """Reduce the square window around each cell by and, or or; its odd ``side`` is doubled step by step.

    Beyond the edge stands what changes nothing. On so few cells it takes a third of the time of SciPy's filters.
    """
    found, done = _framed(cells, side // 2, of.identity), 1
    while done < side:
        step = min(done, side - done)
        found = of(found[:-step], found[step:])
        found = of(found[:, :-step], found[:, step:])
        done += step
    return found


def _framed(cells: np.ndarray, margin: int, value: int) -> np.ndarray:
    """Add a margin of one value; `np.pad` takes longer than all that is done with it."""
    framed = np.full([length + 2 * margin for length in cells.shape], value, cells.dtype)
    framed[margin:-margin, margin:-margin] = cells
    return framed


def _grow(lively: np.ndarray, box: Box) -> Box:
    """Move each side outwards over lines with enough cells that are not flat."""
    left, top, right, bottom = box.x, box.y, box.right, box.bottom
    rows, columns = lively.shape
    while top > 0 and lively[top - 1, left:right].mean() >= GROWS:
        top -= 1
    while bottom < rows and lively[bottom, left:right].mean() >= GROWS:
        bottom += 1
    while left > 0 and lively[top:bottom, left - 1].mean() >= GROWS:
        left -= 1
    while right < columns and lively[top:bottom, right].mean() >= GROWS:
        right += 1
    return Box(left, top, right - left, bottom - top)


def _side_by_side(boxes: Sequence[Box]) -> bool:
    """Test for two boxes of nearly one size beside each other."""
    if len(boxes) != 2:
        return False
    one, other = boxes
    lines = min(one.bottom, other.bottom) - max(one.y, other.y)
    ratios = [min(a, b) / max(a, b) for a, b in ((one.width, other.width), (one.height, other.height))]
    apart = one.right <= other.x or other.right <= one.x
    return apart and min(ratios) >= ALIKE and lines >= ALIKE * max(one.height, other.height)


def _find_seam(grey: np.ndarray, part: float) -> tuple[int, int] | None:
    """Find the seam of two panes of nearly one width that touch, or nearly.

    A line of pixels jumps where its step to the next pixel exceeds most of the steps around it.

    Args:
        grey: The patch. uint8, shape (H, W).
        part: Least share of lines that jump in each quarter of it.

    Returns:
        Where the left pane ends and where the right one starts; None without a seam.
    """
    width = grey.shape[1]
    grey = grey[:: max(1, len(grey) // SEAM_LINES)]
    low, high = round(width * ALIKE / (1 + ALIKE)), round(width / (1 + ALIKE))
    steps = np.abs(np.diff(grey[:, low - 1 : high + 1].astype(np.int16), axis=1))
    usual = np.maximum(np.quantile(steps, JUMPS, axis=1, keepdims=True), FLAT)
    jumps = (steps > usual)[steps.max(axis=1) > EVEN]  # black lines tell nothing
    if len(jumps) < len(grey) / 2 or high - low < BLOCK:
        return None
    shares, best = jumps.mean(axis=0), int(jumps.mean(axis=0).argmax())
    if shares[best] < SEAM or min(quarter[:, best].mean() for quarter in np.array_split(jumps, 4)) < part:
        return None
    near = np.flatnonzero(shares >= SEAM)
    near = near[np.abs(near - best) <= 2 * BLOCK]  # the gap's other side
    return low + int(near[0]), low + int(near[-1])


def _turned(box: Box) -> Box:
    """Exchange the axes of a box."""
    return Box(box.y, box.x, box.height, box.width)


def _pixels(box: Box, cells: Cells) -> Box:
    """Convert a box from cells to pixels, less even lines at its sides: the edge lies within the outermost cells."""
    height, width = cells.grey.shape
    left, top = box.x * cells.side, box.y * cells.side
    found = Box(left, top, min(box.right * cells.side, width) - left, min(box.bottom * cells.side, height) - top)
    part = found.cut(cells.grey)
    top, bottom, left, right = (
        next((n for n in range(max(cells.side, BLOCK + 1)) if np.ptp(lines[n]) > EVEN), 0)
        for lines in (part, part[::-1], part.T, part.T[::-1])
    )
    return Box(found.x + left, found.y + top, found.width - left - right, found.height - top - bottom)
