"""Passes that take up what an earlier one computed: the surroundings of a square, or the stages that networks share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion_ln.explain.hooks import outputs_of, outputs_through
from fusion_ln.models.backbones import Backbone, Trunk

SMALLER = 4  # side of a picture by that of one which only leads to a stage
# Errors of networks that are asked for what they do not have, such as a stage by name, or pictures of any size.
UNFIT = (AttributeError, AssertionError, LookupError, TypeError, ValueError, RuntimeError)
WORTHWHILE = 0.75  # largest share of a picture's side that is worth cutting out

Corner = tuple[int, int]  # top and left of a square


@dataclass(frozen=True)
class FirstStage:
    """First stage of a network, each cell of whose output sees few pixels.

    Attributes:
        name: The module of the network that ends it.
        cells: Cells a side of its output.
        stride: Pixels a side of a cell.
        reach: Cells to either side whose pixels a cell sees.
    """

    name: str
    cells: int
    stride: int
    reach: int


@dataclass(frozen=True)
class LocalTrunk:
    """Network that is asked for versions of pictures of which its first stage knows its output.

    What does not see the square stays as it is known, so that its features are those of the whole pictures.

    Attributes:
        backbone: The network.
        stage: Its first stage.
        known: Output of the stage for the pictures. Shape (V, C, cells, cells).
        square: Pixels a side of the squares.
    """

    backbone: Backbone
    stage: FirstStage
    known: Tensor
    square: int

    def features(self, pictures: Tensor, corners: Sequence[Corner]) -> Tensor:
        """Compute the feature maps of B versions of the V pictures, each with a square at a corner of ``corners``.

        Args:
            pictures: Version by version. Shape (B * V, 3, S, S).
            corners: One per picture.
        """
        stride, reach, cells = self.stage.stride, self.stage.reach, self.stage.cells
        covered = max(-(-(at + self.square) // stride) - at // stride for corner in corners for at in corner)
        n_changed, n_seen = covered + 2 * reach, covered + 4 * reach  # cells a side that see the square, and their own
        changed = [[_within(at // stride - reach, cells - n_changed) for at in corner] for corner in corners]
        seen = [[_within(first - reach, cells - n_seen) for first in each] for each in changed]
        side = n_seen * stride
        cut = torch.empty((len(pictures), 3, side, side), memory_format=torch.channels_last)
        for part, picture, (y, x) in zip(cut, pictures, seen, strict=True):
            part.copy_(picture[:, y * stride : y * stride + side, x * stride : x * stride + side])

        def paste(out: Tensor) -> Tensor:
            whole = torch.empty((len(out), *self.known.shape[1:]), memory_format=torch.channels_last)
            whole.view(-1, *self.known.shape).copy_(self.known)
            for maps, part, (y, x), (top, left) in zip(whole, out, changed, seen, strict=True):
                inside = (..., slice(y - top, y - top + n_changed), slice(x - left, x - left + n_changed))
                maps[:, y : y + n_changed, x : x + n_changed] = part[inside]
            return whole

        with outputs_through(self.backbone.body.get_submodule(self.stage.name), paste):
            return self.backbone.feature_map(cut)


@dataclass(frozen=True)
class LateTrunk:
    """Network that goes on from the output of a stage which it shares with another network.

    Attributes:
        backbone: The network.
        stage: The module that ends the stage.
        small: A small picture, whose way to the stage costs next to nothing. Shape (1, 3, s, s).
    """

    backbone: Backbone
    stage: str
    small: Tensor

    def going_on(self, known: Tensor) -> Trunk:
        """Make the network of pictures of which the other network's stage has the output ``known`` (B, C, h, w)."""

        def feature_map(pictures: Tensor) -> Tensor:
            with outputs_through(self.backbone.body.get_submodule(self.stage), lambda out: known):
                return self.backbone.feature_map(self.small)

        return feature_map


def find_first_stage(backbone: Backbone, side: int, square: int) -> FirstStage | None:
    """Find the first stage of a network; None if a square and what sees it are not much smaller than the picture.

    Args:
        backbone: The network.
        side: Pixels a side of its pictures.
        square: Pixels a side of the squares.
    """
    try:
        with torch.no_grad():
            return _find_first_stage(backbone, side, square)
    except UNFIT:  # it takes no cut picture
        return None


def _find_first_stage(backbone: Backbone, side: int, square: int) -> FirstStage | None:
    stages = list(getattr(backbone.body, "feature_info", None) or [{}])
    name = str(stages[0].get("module", "?"))
    module = backbone.body.get_submodule(name)
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    picture = picture.contiguous(memory_format=torch.channels_last)
    kept: list[Tensor] = []

    def keep(out: Tensor) -> Tensor:
        kept.append(out)
        return out

    def is_plane(out: Tensor) -> bool:
        return out.ndim == 4 and out.shape[2] == out.shape[3] and side % out.shape[2] == 0

    with outputs_through(module, keep):
        backbone.feature_map(picture)
        cells = kept[0].shape[2] if len(kept) == 1 and is_plane(kept[0]) else 1
        stride, middle = side // cells, cells // 2
        cell = slice(middle * stride, (middle + 1) * stride)
        spoilt = picture.clone()
        spoilt[..., cell, cell] = torch.nan  # it spreads to every output that sees it
        backbone.feature_map(spoilt)
    reach = int((kept[1][0].isnan().any(0).nonzero() - middle).abs().max())
    stage = FirstStage(name, cells, stride, reach)
    if -(-square // stride) + 1 + 4 * reach > WORTHWHILE * cells:
        return None
    changed = picture.clone()
    changed[..., :square, :square] = 0
    local = LocalTrunk(backbone, stage, kept[0], square).features(changed, [(0, 0)])
    return stage if torch.allclose(local, backbone.feature_map(changed), rtol=1e-4, atol=1e-4) else None


def find_late_trunk(backbone: Backbone, origin: Backbone, side: int) -> LateTrunk | None:
    """Find the last stage that a network shares with ``origin``; None if it is at most the first.

    Args:
        backbone: The network.
        origin: The network whose weights it has in part.
        side: Pixels a side of their pictures.
    """
    try:
        with torch.no_grad():
            return _find_late_trunk(backbone, origin, side)
    except UNFIT:  # it takes no smaller picture, or not every stage has an output
        return None


def _find_late_trunk(backbone: Backbone, origin: Backbone, side: int) -> LateTrunk | None:
    names = [str(stage["module"]) for stage in getattr(backbone.body, "feature_info", None) or ()]
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with outputs_of([origin.body.get_submodule(name) for name in names]) as theirs:
        origin.feature_map(picture)
    with outputs_of([backbone.body.get_submodule(name) for name in names]) as own:
        whole = backbone.feature_map(picture)
    shared = max((i for i, pair in enumerate(zip(theirs, own, strict=True)) if torch.equal(*pair)), default=0)
    if not shared:
        return None
    late = LateTrunk(backbone, names[shared], picture[..., : side // SMALLER, : side // SMALLER])
    return late if torch.allclose(late.going_on(own[shared])(picture), whole, rtol=1e-4, atol=1e-4) else None


def _within(value: int, largest: int) -> int:
    return max(0, min(value, largest))
