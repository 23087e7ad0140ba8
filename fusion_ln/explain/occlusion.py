"""Occlusion, for all pictures of a patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fusion_ln.explain.attribution import Attribution, Maps, blank_maps
from fusion_ln.explain.hooks import outputs_of
from fusion_ln.explain.local import Corner, LateTrunk, LocalTrunk
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.network import Case, Explained
from fusion_ln.models.backbones import Trunk

WINDOWS = 8  # occlusion windows along a side of the picture

Window = tuple[int, int, int]  # view, top and left of a square


def occlusion(explained: Explained, case: Case) -> Attribution:
    """Compute occlusion maps (Zeiler & Fergus 2014, arXiv 1311.2901).

    The value of a pixel is the fall of the logit while a square of the picture is black, averaged over the squares
    that cover the pixel. The stride is half of the square's side.
    """
    return occlusion_with_copies(explained, case, ())[0]


def occlusion_with_copies(
    explained: Explained, case: Case, copies: Sequence[Explained]
) -> tuple[Attribution, list[Maps]]:
    """Compute occlusion maps, and the quick ones of copies of the model, which take over the stages they share."""
    maps, quick, *others = _occlude([explained, *copies], case, dense=True)
    return Attribution(maps, quick=quick), others


def quick_occlusion(explained: Explained, cases: Sequence[Case]) -> list[Maps]:
    """Compute occlusion maps of squares that lie side by side."""
    return [_occlude([explained], case, dense=False)[0] for case in cases]


def _occlude(models: Sequence[Explained], case: Case, *, dense: bool) -> list[Maps]:
    """Compute maps of squares side by side for a model and copies of it; first, if ``dense``, those of half the stride.

    A square of both grids is tried once.
    """
    found = [blank_maps(case) for _ in range(len(models) + dense)]
    with torch.no_grad():
        known = [_uncover(each, case, models[0]) for each in models]
        for m in case.modalities:
            size, side = case.pictures[m].shape[-1], _square(case.pictures[m])
            views = torch.nonzero(case.present[0, m]).flatten().tolist()
            windows = _windows(views, size, side, side)
            tried = within_memory(partial(_falls, known, case, m, windows), case)
            falls = [dict(zip(windows, each, strict=True)) for each in tried.tolist()]
            if dense:
                grid = _windows(views, size, side, side // 2)
                between = [window for window in grid if window not in falls[0]]
                more = within_memory(partial(_falls, known[:1], case, m, between), case)[0].tolist()
                of_window = falls[0] | dict(zip(between, more, strict=True))
                falls.insert(0, {window: of_window[window] for window in grid})
            for maps, each in zip(found, falls, strict=True):
                maps[m] = _spread(maps[m], each, side)
    return found


@dataclass(frozen=True)
class _Uncovered:
    """A patient's pictures as they are, in a model.

    Attributes:
        explained: The model.
        encoded: Output of each modality's network, see `Explained.encode`.
        logit: That of the class.
        local: Networks that compute only what sees a square, by modality, where they can.
        late: Networks that go on from a stage of the model of which this is a copy, by modality, where they can.
    """

    explained: Explained
    encoded: list[tuple[Tensor, Tensor]]
    logit: Tensor
    local: dict[int, LocalTrunk]
    late: dict[int, LateTrunk]

    def trunk(self, m: int, corners: Sequence[Corner]) -> Trunk | None:
        """Return the network of a modality that computes only what sees squares at ``corners``, if it can."""
        return partial(self.local[m].features, corners=corners) if m in self.local else None

    def fall(self, case: Case, m: int, versions: Tensor, trunk: Trunk | None) -> Tensor:
        """Compute by how much the logit falls in ``versions`` (B, V, 3, S, S) of a modality's pictures. (B,)."""
        return self.logit - self.explained.fuse(case, self.encoded, m, versions, trunk)[:, case.target]


def _uncover(explained: Explained, case: Case, origin: Explained) -> _Uncovered:
    names = {m: explained.modalities[m] for m in case.modalities}
    late = {m: explained.late_trunk(name, origin) for m, name in names.items()} if explained is not origin else {}
    found = {m: explained.first_stage(name, _square(case.pictures[m])) for m, name in names.items()}
    stages = {m: stage for m, stage in found.items() if stage}
    networks = {m: explained.own(names[m]) for m in stages}
    with outputs_of([networks[m].body.get_submodule(stage.name) for m, stage in stages.items()]) as outputs:
        encoded = explained.encode(case)
    local = {
        m: LocalTrunk(networks[m], stage, known, _square(case.pictures[m]))
        for (m, stage), known in zip(stages.items(), outputs, strict=True)
    }
    logit = explained.model.fuse(encoded, *case.more)[0, case.target]
    return _Uncovered(explained, encoded, logit, local, {m: each for m, each in late.items() if each})


def _falls(models: Sequence[_Uncovered], case: Case, m: int, windows: Sequence[Window], at_once: int) -> Tensor:
    """Compute by how much the logit of each model falls while each window of a modality is black. (models, N)."""
    first, n_views = models[0], int(case.present[0, m].sum())
    late = {i: each.late[m] for i, each in enumerate(models) if m in each.late}
    network = first.explained.own(first.explained.modalities[m]).body
    falls = []
    for part in (windows[i : i + at_once] for i in range(0, len(windows), at_once)):
        versions = _blacken(case.pictures[m], part, _square(case.pictures[m]))
        corners = [(top, left) for _, top, left in part for _ in range(n_views)]

        with outputs_of([network.get_submodule(each.stage) for each in late.values()]) as shared:
            fallen = [first.fall(case, m, versions, first.trunk(m, corners))]
        trunks = {i: each.going_on(known) for (i, each), known in zip(late.items(), shared, strict=True)}
        for i, model in enumerate(models[1:], 1):
            fallen.append(model.fall(case, m, versions, trunks.get(i) or model.trunk(m, corners)))
        falls.append(torch.stack(fallen))
    return torch.cat(falls, 1)


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
