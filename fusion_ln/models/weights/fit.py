"""Fit of a weight file to a timm network: every tensor of the network comes from the file, or it is refused."""

import logging
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusion_ln.errors import WeightsError, in_short
from fusion_ln.models.library import timm
from fusion_ln.models.weights.match import NORMS, Match, match
from fusion_ln.models.weights.network import Argument, Network
from fusion_ln.models.weights.presets import TORCHVISION, network_of
from fusion_ln.models.weights.sound import refuse_no_weights, refuse_oblong
from fusion_ln.models.weights.unwrap import Unwrapped, read_weight_file

WEIGHT_MARK = 1000.0  # above any weight that is drawn; float32 tells some millions of marks apart
ANOTHER = "Give the file of that network, or choose it with `--backbone`."
NAMED = 5  # tensors that a message lists
NO_WEIGHTS = ("attn_mask", "relative_position_index", "relative_coords_table", "total_ops", "total_params")  # computed
# Parts of transformers that stand beside the blocks and change what reaches them.
BEFORE_BLOCKS = ("reg_token", "register_tokens", "storage_tokens", "dist_token", "norm_pre", "ln_pre")


@dataclass(frozen=True)
class Fit:
    """Network with the weights of a file.

    Attributes:
        body: The timm network, without its classifier.
        network: What the file tells of it beyond its tensors, or its layout implies; None: nothing.
        read: The file's tensors as they lay in it.
        match: How they came to their names.
        total: Number of the network's tensors.
        missing: Those that the file lacks, as was allowed.
        left_over: Names of the file's tensors that were not used.
    """

    body: nn.Module
    network: Network | None
    read: Unwrapped
    match: Match
    total: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]

    @property
    def side(self) -> int | None:
        """Pixels a side that the network is built for; None: it takes any."""
        size = getattr(getattr(self.body, "patch_embed", None), "img_size", None)
        return int(size[0]) if size else None


def build_body(timm_name: str, image_size: int | None, arguments: Mapping[str, Argument]) -> nn.Module:
    """Build a timm network without its classifier, its weights drawn.

    Args:
        timm_name: A name that timm knows.
        image_size: Pixels a side, for which networks with position embeddings are built; None: timm's own size.
        arguments: Constructor arguments that differ from timm's.
    """
    body: nn.Module = timm.create_model(timm_name, num_classes=0, **constructor(timm_name, image_size, arguments))
    return body


def constructor(timm_name: str, image_size: int | None, arguments: Mapping[str, Argument]) -> dict[str, Any]:
    """Join constructor arguments and the size of pictures, for the networks that take one."""
    config = timm.get_pretrained_cfg(timm_name)
    assert config is not None, timm_name
    return {**({"img_size": image_size} if image_size and config.fixed_input_size else {}), **arguments}


def body_on_meta(timm_name: str, image_size: int | None, arguments: Mapping[str, Argument]) -> nn.Module:
    """Build a network of shapes alone, leaving torch's random state alone.

    Raises:
        WeightsError: If timm's network does not take the arguments.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return build_body(timm_name, image_size, arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        if not arguments:
            raise
        listed = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise WeightsError(
            f"{timm_name}: cannot be built with {listed} ({in_short(error)}).", "Give arguments that it takes."
        ) from None


def floating(body: nn.Module) -> dict[str, Tensor]:
    """Return what a weight file must hold: parameters and running statistics, by name."""
    buffers = {name: tensor for name, tensor in body.named_buffers() if "running_" in name}
    return {name: tensor.detach() for name, tensor in (*body.named_parameters(), *buffers.items())}


def fit_file(
    timm_name: str,
    path: Path,
    image_size: int | None,
    network: Network | None = None,
    *,
    allowed: Collection[str] = (),
) -> Fit:
    """Read a weight file into a network; torch's random state stays as it is.

    Args:
        timm_name: A name that timm knows.
        path: The file.
        image_size: Pixels a side; position tables are resized to it. None: timm's own size.
        network: What is known of the file beyond its tensors.
        allowed: Tensors that the file may lack, by their names or the first parts of these.

    Raises:
        WeightsError: If it is no weight file, another network's, incomplete, or holds values that are no numbers.
    """
    read = read_weight_file(path)
    return fit_tensors(timm_name, read, path, image_size, network, allowed=allowed)


def fit_tensors(
    timm_name: str,
    read: Unwrapped,
    path: Path,
    image_size: int | None,
    network: Network | None = None,
    *,
    allowed: Collection[str] = (),
) -> Fit:
    """Fit tensors that were read; see `fit_file`."""
    arguments = network.arguments if network else {}
    try:
        shapes = {n: t.shape for n, t in floating(body_on_meta(timm_name, image_size, arguments)).items()}
    except WeightsError as error:
        if way_out := _other_network(timm_name, network):
            raise WeightsError(f"{path}: not weights of {timm_name} ({error.problem})", way_out) from None
        raise
    found = match(read.tensors, shapes)
    refuse_oblong(path, found, shapes)
    if found.layout.torchvision:
        added = dict(found.layout.arguments(timm_name))
        network = _with_arguments(network, added) or network_of(TORCHVISION, "torchvision", timm_name, added)
        arguments = network.arguments
    build = partial(_with_weights, timm_name, constructor(timm_name, image_size, arguments))
    may_lack = (*allowed, *(network.missing if network else ()))
    try:
        body = build(found.tensors)
        missing, used = _check_complete(build, found.tensors, may_lack)
        _check_nothing_dropped(found, shapes, timm_name)
    except Exception as error:  # load_state_dict and timm's own conversions each raise their own
        raise _wrong_network(path, timm_name, error, found, len(shapes), network) from None
    refuse_no_weights(path, body.state_dict())
    left_over = tuple(name for name in found.left_over if name.removeprefix(found.prefix) not in used)
    return Fit(body, network, read, found, len(shapes), missing, left_over)


def _with_arguments(network: Network | None, added: Mapping[str, Argument]) -> Network | None:
    return network and network.model_copy(update={"arguments": {**added, **network.arguments}})


def _with_weights(timm_name: str, arguments: dict[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a network without its classifier and let timm load its weights, leaving torch's random state alone.

    timm drops the classifier and fits position embeddings to the size.
    """
    logging.getLogger("timm").setLevel(logging.ERROR)  # our messages replace its warnings
    with torch.random.fork_rng(devices=[]):
        body: nn.Module = timm.create_model(
            timm_name,
            pretrained=True,
            pretrained_cfg_overlay={"state_dict": dict(tensors)},
            num_classes=0,
            **arguments,
        )
    return body


def _check_complete(
    build: "partial[nn.Module]", held: Mapping[str, Tensor], allowed: Collection[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Check that every weight of a network comes from a file, and that no norm of the file's network is dropped.

    timm renames, joins and resizes tensors on the way, and overlooks what is missing where it drops a classifier. So
    each tensor of the file is filled with a number of its own, which no drawn weight has, and then looked for in the
    network.

    Returns:
        Names of the network's tensors that are missing and may be, and names of the file's tensors that were found.

    Raises:
        ValueError: Naming the number of tensors that match, and those that do not.
    """
    marks = {name: WEIGHT_MARK + place for place, name in enumerate(held)}
    filled = {k: torch.full(v.shape, marks[k]) if v.is_floating_point() else v for k, v in held.items()}
    tensors = {name: tensor for name, tensor in floating(build(filled)).items() if tensor.numel()}
    highest = {name: float(tensor.max()) for name, tensor in tensors.items()}
    absent = [name for name, value in highest.items() if value < WEIGHT_MARK - 1]
    lacking = [name for name in absent if not any(name == each or name.startswith(f"{each}.") for each in allowed)]
    if lacking:
        raise ValueError(
            f"{len(tensors) - len(absent)} of {len(tensors)} tensors match; it lacks {first_names(lacking)}"
        )
    seen = {round(value) for value in (*highest.values(), *(float(tensor.min()) for tensor in tensors.values()))}
    used = frozenset(name for name, mark in marks.items() if round(mark) in seen)
    for name in held:
        if name.startswith(tuple(f"{norm}." for norm in NORMS)) and name not in used:
            raise ValueError(f"all {len(tensors)} tensors match, but its {name} has no place in the network")
    return tuple(absent), used


def _check_nothing_dropped(found: Match, shapes: Collection[str], timm_name: str) -> None:
    """Check that a file holds nothing more of the network itself: further blocks, or parts within its blocks.

    ResNet-101's file has the first for ResNet-50; that of a transformer with layer scale or registers has the second
    for one without.

    Raises:
        ValueError: Naming the first such tensor.
    """
    kinds = {re.sub(r"\d+", "0", name) for name in shapes}
    modules = {name[: dot.start()] for name in shapes for dot in re.finditer(r"\.", name)}
    classifier = getattr(timm.get_pretrained_cfg(timm_name), "classifier", None) or ()
    heads = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    for name in found.left_over:
        own = found.layout.rename(name.removeprefix(found.prefix)) or ""
        if own in shapes or own.startswith(heads) or own.endswith(NO_WEIGHTS):
            continue
        within = any(own[: dot.start()] in modules for dot in re.finditer(r"\.", own))
        if within or own.partition(".")[0] in BEFORE_BLOCKS or re.sub(r"\d+", "0", own) in kinds:
            raise ValueError(f"all {len(shapes)} tensors match, but its {name} has no place in the network")


def first_names(names: Collection[str]) -> str:
    """List the first of some tensors, and count the others."""
    first = list(names)[:NAMED]
    return ", ".join(first) + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")


def _wrong_network(
    path: Path, name: str, error: Exception, found: Match, total: int, network: Network | None
) -> WeightsError:
    reason = str(error) if isinstance(error, ValueError) else f"{len(found.matched)} of {total} tensors match"
    if found.unlike:
        first, (held, wanted) = next(iter(found.unlike.items()))
        reason += f"; {first} is {_sides(held)} in the file and {_sides(wanted)} in the network"
    elif not isinstance(error, ValueError):
        reason += f"; {in_short(error, most=300)}"
    way_out = _other_network(name, network)
    if not way_out and total - 2 * len(NORMS) <= len(found.matched) < total and not found.unlike:
        way_out = f"{ANOTHER} If it was published without them: `fusionln weights import FILE --allow-missing NAME`."
    return WeightsError(f"{path}: not weights of {name} ({reason}).", way_out or ANOTHER)


def _other_network(name: str, network: Network | None) -> str:
    """Name the network that a file says it is of, where that is another."""
    if network is None or network.backbone.partition(".")[0] == name.partition(".")[0]:
        return ""
    return f"The file is of {network.backbone}: choose that with `--backbone {network.backbone}`."


def _sides(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "one number"


def own_size(timm_name: str, read: Unwrapped, network: Network | None) -> int | None:
    """Find the size of pictures that a file's position table is for, so that it is kept as it is; None: timm's own."""
    body = body_on_meta(timm_name, None, network.arguments if network else {})
    patch, prefixed = (
        getattr(getattr(body, "patch_embed", None), "patch_size", None),
        getattr(body, "num_prefix_tokens", 0),
    )
    found = match(read.tensors, {n: t.shape for n, t in floating(body).items()})
    if patch is None or not found.resized:
        return None
    name = found.resized[0]
    if name.endswith("pos_embed"):
        numbers = {found.tensors[name].shape[1] - taken for taken in (prefixed, 0)}
    else:  # a window of w x w patches has (2 w - 1)^2 distances, and three more to the class token
        numbers = {((math.isqrt(n) + 1) // 2) ** 2 for n in (found.tensors[name].shape[0] - 3,)}
    return next((math.isqrt(n) * int(patch[0]) for n in sorted(numbers) if math.isqrt(n) ** 2 == n), None)
