"""Occlusion, for all pictures of a patient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fusion_ln.explain.attribution import Attribution, Maps, blank_maps
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.network import Case, Explained

WINDOWS = 8  # occlusion windows along a side of the picture

Window = tuple[int, int, int]  # view, top and left of a square


def occlusion(explained: Explained, case: Case) -> Attribution:
    """Compute occlusion maps (Zeiler & Fergus 2014, arXiv 1311.2901).

    The value of a pixel is the fall of the logit while a square of the picture is black, averaged over the squares
    that cover the pixel. The stride is half of the square's side.
    """
    maps, quick = _occlude(explained, case, overlaps=(2, 1))
    return Attribution(maps, quick=quick)


def quick_occlusion(explained: Explained, case: Case) -> Attribution:
    """Compute occlusion maps of squares that lie side by side."""
    [maps] = _occlude(explained, case, overlaps=(1,))
    return Attribution(maps)


def _occlude(explained: Explained, case: Case, overlaps: Sequence[int]) -> list[Maps]:
    """Compute the maps for each overlap: the square's side divided by the stride. A square they share is tried once."""
    found = [blank_maps(case) for _ in overlaps]
    with torch.no_grad():
        encoded = explained.encode(case)
        whole = explained.model.fuse(encoded, *case.more)[0, case.target]
        for m in case.modalities:
            size = case.pictures[m].shape[-1]
            side = max(2, round(size / WINDOWS))
            views = torch.nonzero(case.present[0, m]).flatten().tolist()
            grids = [_windows(views, size, side, side // overlap) for overlap in overlaps]
            windows = list(dict.fromkeys(window for grid in grids for window in grid))

            def falls(at_once: int, m: int = m, side: int = side, windows: Sequence[Window] = windows) -> Tensor:
                parts = (windows[i : i + at_once] for i in range(0, len(windows), at_once))
                versions = (_blacken(case.pictures[m], part, side) for part in parts)
                return torch.cat([whole - explained.fuse(case, encoded, m, v)[:, case.target] for v in versions])

            of_window = dict(zip(windows, within_memory(falls).tolist(), strict=True))
            for maps, grid in zip(found, grids, strict=True):
                maps[m] = _spread(maps[m], {window: of_window[window] for window in grid}, side)
    return found


def _windows(views: Sequence[int], size: int, side: int, stride: int) -> list[Window]:
    """List squares that cover every pixel of the present views; the last of a row may reach out of the picture."""
    starts = range(0, size - side + stride, stride)
    return [(view, top, left) for view in views for top in starts for left in starts]


def _blacken(pictures: Tensor, windows: Sequence[Window], side: int) -> Tensor:
    """Make one version of a modality's pictures per window. (1, V, 3, S, S) to (B, V, 3, S, S)."""
    versions = pictures.repeat(len(windows), 1, 1, 1, 1)
    for version, (view, top, left) in zip(versions, windows, strict=True):
        version[view, :, top : top + side, left : left + side] = 0
    return versions


def _spread(blank: Tensor, falls: dict[Window, float], side: int) -> Tensor:
    """Average the falls of the squares over each pixel. (V, S, S)."""
    total, covered = torch.zeros_like(blank), torch.zeros_like(blank)
    for (view, top, left), fall in falls.items():
        square = (view, slice(top, top + side), slice(left, left + side))
        total[square] += fall
        covered[square] += 1
    return total / covered.clamp(min=1)
