"""Matching of a file's tensors with a network's, by name and shape: one prefix, one layout, and named rules."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fusion_ln.models.weights.layouts import LAYOUTS, SAME, Layout

Shapes = Mapping[str, torch.Size]  # of a network's floating tensors, by name
TABLE = "relative_position_bias_table"
SHARED_TABLE = f"rel_pos_bias.{TABLE}"  # BEiT's, of all blocks together
NORMS = ("norm", "fc_norm")  # of transformers, before and after the mean over patches: a network has one of them
LEAST = 0.5  # share of a network's tensors below which the names are another program's, which timm may know


@dataclass(frozen=True)
class Match:
    """Tensors of a file under the names of a network.

    Attributes:
        tensors: What timm is to load.
        matched: Names of the network's tensors that the file holds in a shape that fits.
        unlike: Names with another shape: the file's and the network's.
        left_over: Names of the file's tensors that have no place in the network.
        layout: Rule of the names.
        prefix: Prefix of the names, taken off.
        rivals: Prefixes that match as many tensors, and were not taken.
        rules: Further rules that were used, in words.
        resized: Names of position tables that timm resizes.
    """

    tensors: dict[str, Tensor]
    matched: frozenset[str]
    unlike: dict[str, tuple[torch.Size, torch.Size]]
    left_over: tuple[str, ...]
    layout: Layout = SAME
    prefix: str = ""
    rivals: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()


@dataclass
class _Draft:
    """Match in the making: tensors by the network's names, and the rules that brought them there, in words."""

    shapes: Shapes
    tensors: dict[str, Tensor] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)


def match(tensors: Mapping[str, Tensor], shapes: Shapes) -> Match:
    """Match a file's tensors with a network's.

    Of all layouts and prefixes the one that matches most tensors is taken, the first of equals. Where it matches less
    than half, the names are handed on as they are: timm knows layouts of its own.

    Args:
        tensors: Of the file.
        shapes: Of the network's floating tensors; their names are what the result is named by.
    """
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    layout, prefix, rivals = _choose(floating, shapes)
    if prefix is None:
        matched = frozenset(name for name in floating if name in shapes and _fits(name, floating[name], shapes[name]))
        return Match(dict(tensors), matched, {}, ())
    draft = _Draft(shapes)
    left_over = []
    for name, tensor in tensors.items():
        target = layout.rename(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if target is None or (layout.torchvision and target not in shapes and tensor.is_floating_point()):
            left_over.append(name)
        else:
            draft.tensors[target] = tensor
    _share_table(draft)
    _rename_norm(draft)
    _three_channels(draft)
    _drop_ones(draft)
    return _finish(draft, layout, prefix, rivals, left_over)


def _finish(draft: _Draft, layout: Layout, prefix: str, rivals: tuple[str, ...], left_over: list[str]) -> Match:
    shapes = draft.shapes
    held = {name: tensor for name, tensor in draft.tensors.items() if name in shapes}
    matched = frozenset(name for name, tensor in held.items() if _fits(name, tensor, shapes[name]))
    unlike = {name: (held[name].shape, shapes[name]) for name in held if name not in matched}
    unplaced = [n for n, tensor in draft.tensors.items() if n not in shapes and tensor.is_floating_point()]
    return Match(
        draft.tensors,
        matched,
        unlike,
        (*left_over, *(f"{prefix}{name}" for name in unplaced)),
        layout,
        prefix,
        rivals,
        tuple(draft.rules),
        tuple(name for name in held if name in matched and held[name].shape != shapes[name]),
    )


def _choose(tensors: Mapping[str, Tensor], shapes: Shapes) -> tuple[Layout, str | None, tuple[str, ...]]:
    """Choose the layout and the prefix that match most tensors; None where they match less than half."""
    best: tuple[int, Layout, str, tuple[str, ...]] = (0, SAME, "", ())
    for layout in LAYOUTS:
        found: dict[str, set[str]] = defaultdict(set)
        for name, tensor in tensors.items():
            for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
                target = layout.rename(name[start:])
                if target is not None and target in shapes and _fits(target, tensor, shapes[target]):
                    found[name[:start]].add(target)
        if found:
            most = max(map(len, found.values()))
            equals = [prefix for prefix, targets in found.items() if len(targets) == most]
            if most > best[0]:
                best = (most, layout, equals[0], tuple(equals[1:]))
    most, layout, prefix, rivals = best
    return (layout, prefix, rivals) if most >= LEAST * len(shapes) else (SAME, None, ())


def _fits(name: str, tensor: Tensor, wanted: torch.Size) -> bool:
    """Test whether a tensor has the wanted shape, or one that is made to fit it without loss or by timm."""
    shape = tensor.shape
    if shape == wanted or _without_ones(shape) == _without_ones(wanted):
        return True
    if name.endswith(("pos_embed", TABLE)):  # resized with the picture
        return len(shape) == len(wanted) and shape[-1] == wanted[-1]
    return _is_grey(shape, wanted)


def _is_grey(shape: torch.Size, wanted: torch.Size) -> bool:
    """Test for a first convolution of one channel, where the network's takes three."""
    return len(shape) == len(wanted) == 4 and shape[1] == 1 and wanted[1] == 3 and (shape[0], *shape[2:]) == (
        wanted[0], *wanted[2:]
    )  # fmt: skip


def _without_ones(shape: torch.Size) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def _share_table(draft: _Draft) -> None:
    """Give BEiT's table of relative positions, which all blocks share, to every block of a network with one each."""
    own = [name for name in draft.shapes if name.endswith(f"attn.{TABLE}")]
    if SHARED_TABLE in draft.tensors and SHARED_TABLE not in draft.shapes and own:
        table = draft.tensors.pop(SHARED_TABLE)
        draft.tensors.update({name: table.clone() for name in own})
        draft.rules.append(f"the shared table of relative positions given to each of the {len(own)} blocks")


def _rename_norm(draft: _Draft) -> None:
    """Rename the last norm where file and network have one each, under the other's name."""
    for held, wanted in (NORMS, NORMS[::-1]):
        in_file = [name for name in draft.tensors if name.startswith(f"{held}.")]
        if not in_file or f"{held}.weight" in draft.shapes or f"{wanted}.weight" in draft.tensors:
            continue
        if f"{wanted}.weight" in draft.shapes:
            for name in in_file:
                draft.tensors[name.replace(held, wanted, 1)] = draft.tensors.pop(name)
            pools = "class token" if wanted == "norm" else "mean over patches"
            draft.rules.append(f"{held} taken as {wanted}: the network pools by the {pools}, the file's did otherwise")


def _three_channels(draft: _Draft) -> None:
    """Spread a first convolution of one channel over three, so that grey pictures give what they gave."""
    for name, tensor in draft.tensors.items():
        wanted = draft.shapes.get(name)
        if wanted and tensor.shape != wanted and _is_grey(tensor.shape, wanted):
            draft.tensors[name] = tensor.repeat(1, 3, 1, 1) / 3
            draft.rules.append(f"{name}: one channel repeated to three and divided by three")


def _drop_ones(draft: _Draft) -> None:
    """Reshape tensors that differ from the network's in sides of 1 alone, as layer scales do."""
    for name, tensor in draft.tensors.items():
        wanted = draft.shapes.get(name)
        if wanted is not None and tensor.shape != wanted and _without_ones(tensor.shape) == _without_ones(wanted):
            draft.tensors[name] = tensor.reshape(wanted)
