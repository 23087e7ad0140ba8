"""Passes of pictures that differ from known ones in a square: the first stage computes only what sees the square."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fusion_ln.models.backbones import Backbone

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

        with _outputs_through(self.backbone.body.get_submodule(self.stage.name), paste):
            return self.backbone.feature_map(cut)


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
    except (AttributeError, AssertionError, TypeError, ValueError, RuntimeError):  # it takes no cut picture
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

    with _outputs_through(module, keep):
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


@contextmanager
def _outputs_through(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Hand the outputs of a module through a function while the context is open."""

    def replace(module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return change(out)

    hook = module.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()


def _within(value: int, largest: int) -> int:
    return max(0, min(value, largest))
