"""Occlusion, for all pictures of a patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fusion_ln.explain.attribution import Attribution, Maps, blank_maps
from fusion_ln.explain.local import LocalTrunk
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.network import Case, Explained, outputs_of

WINDOWS = 8  # occlusion windows along a side of the picture

Window = tuple[int, int, int]  # view, top and left of a square


def occlusion(explained: Explained, case: Case) -> Attribution:
    """Compute occlusion maps (Zeiler & Fergus 2014, arXiv 1311.2901).

    The value of a pixel is the fall of the logit while a square of the picture is black, averaged over the squares
    that cover the pixel. The stride is half of the square's side.
    """
    maps, quick = _occlude(explained, case, overlaps=(2, 1))
    return Attribution(maps, quick=quick)


def quick_occlusion(explained: Explained, cases: Sequence[Case]) -> list[Maps]:
    """Compute occlusion maps of squares that lie side by side."""
    return [_occlude(explained, case, overlaps=(1,))[0] for case in cases]


def _occlude(explained: Explained, case: Case, overlaps: Sequence[int]) -> list[Maps]:
    """Compute the maps for each overlap: the square's side divided by the stride. A square they share is tried once."""
    found = [blank_maps(case) for _ in overlaps]
    with torch.no_grad():
        uncovered = _uncover(explained, case)
        for m in case.modalities:
            size, side = case.pictures[m].shape[-1], _square(case.pictures[m])
            views = torch.nonzero(case.present[0, m]).flatten().tolist()
            grids = [_windows(views, size, side, side // overlap) for overlap in overlaps]
            windows = list(dict.fromkeys(window for grid in grids for window in grid))
            compute = partial(_falls, explained, case, uncovered, m, windows)
            of_window = dict(zip(windows, within_memory(compute, case).tolist(), strict=True))
            for maps, grid in zip(found, grids, strict=True):
                maps[m] = _spread(maps[m], {window: of_window[window] for window in grid}, side)
    return found


@dataclass(frozen=True)
class _Uncovered:
    """A patient's pictures as they are, in the model.

    Attributes:
        encoded: Output of each modality's network, see `Explained.encode`.
        logit: That of the class.
        trunks: Networks that compute only what sees a square, by modality, where they can.
    """

    encoded: list[tuple[Tensor, Tensor]]
    logit: Tensor
    trunks: dict[int, LocalTrunk]


def _uncover(explained: Explained, case: Case) -> _Uncovered:
    found = {m: explained.first_stage(explained.modalities[m], _square(case.pictures[m])) for m in case.modalities}
    stages = {m: stage for m, stage in found.items() if stage}
    networks = {m: explained.own(explained.modalities[m]) for m in stages}
    with outputs_of([networks[m].body.get_submodule(stage.name) for m, stage in stages.items()]) as outputs:
        encoded = explained.encode(case)
    trunks = {
        m: LocalTrunk(networks[m], stage, known, _square(case.pictures[m]))
        for (m, stage), known in zip(stages.items(), outputs, strict=True)
    }
    return _Uncovered(encoded, explained.model.fuse(encoded, *case.more)[0, case.target], trunks)


def _falls(
    explained: Explained, case: Case, uncovered: _Uncovered, m: int, windows: Sequence[Window], at_once: int
) -> Tensor:
    """Compute by how much the logit falls while each window of a modality is black. (N,)."""
    local, n_views, falls = uncovered.trunks.get(m), int(case.present[0, m].sum()), []
    for part in (windows[i : i + at_once] for i in range(0, len(windows), at_once)):
        versions = _blacken(case.pictures[m], part, _square(case.pictures[m]))
        corners = [(top, left) for _, top, left in part for _ in range(n_views)]
        trunk = partial(local.features, corners=corners) if local else None
        logits = explained.fuse(case, uncovered.encoded, m, versions, trunk)
        falls.append(uncovered.logit - logits[:, case.target])
    return torch.cat(falls)


def _square(pictures: Tensor) -> int:
    """Choose the pixels a side of a square."""
    return max(2, round(pictures.shape[-1] / WINDOWS))


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
