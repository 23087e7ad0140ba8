"""Import of public weights: a file of others becomes one of ours, with its network in the metadata."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from fusion_ln.errors import WeightsError
from fusion_ln.models.backbones import find_network
from fusion_ln.models.checkpoint import save_tensors
from fusion_ln.models.weights.describe import statistics_of
from fusion_ln.models.weights.fit import Fit, body_on_meta, fit_tensors, floating, own_size
from fusion_ln.models.weights.load import known_network
from fusion_ln.models.weights.match import match
from fusion_ln.models.weights.network import Argument, Network, metadata_of
from fusion_ln.models.weights.places import weight_file
from fusion_ln.models.weights.presets import PRESETS, Channels, find_preset, network_of, networks_of
from fusion_ln.models.weights.unwrap import Unwrapped, read_weight_file
from fusion_ln.terms import PAPER_BACKBONES

# Networks that `inspect` tries where nobody names one, beside those of the presets and the paper.
USUAL = (
    "resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "convnext_tiny", "convnext_small", "convnext_base",
    "efficientnet_b0", "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_large_patch16_224",
    "swin_tiny_patch4_window7_224",
)  # fmt: skip
# Side of the first convolution, by the beginning of the name; that of transformers stands in it.
STEMS = {"resnet": 7, "densenet": 7, "convnext": 4, "efficientnet": 3, "tf_efficientnet": 3}


@dataclass(frozen=True)
class ImportRequest:
    """Choices of an import.

    Attributes:
        preset: Publication that the file is of.
        backbone: Network; needed where the preset does not tell it.
        arguments: Constructor arguments, which go before the preset's.
        mean, std: Normalisation, which goes before the preset's.
        allowed: Tensors that the file may lack, by their names or the first parts of these.
    """

    preset: str | None = None
    backbone: str | None = None
    arguments: dict[str, Argument] = field(default_factory=dict)
    mean: Channels | None = None
    std: Channels | None = None
    allowed: tuple[str, ...] = ()


def inspect_weights(given: Path, request: ImportRequest) -> tuple[str, Fit]:
    """Fit a file to the network that is chosen or, of several, the one that most of its tensors match.

    Returns:
        timm's name of the network, and the fit at the file's own size of pictures.

    Raises:
        WeightsError: If the file is none, or fits no network that was tried.
        SettingsError: If there is no such network or preset.
    """
    path = weight_file(given)
    known = known_network(str(given))
    if request.allowed and not (request.preset or request.backbone or known):
        raise WeightsError(
            f"{given}: `--allow-missing {request.allowed[0]}` without a network: what is tried must match whole.",
            "Name it with `--backbone NAME` or `--as NAME`.",
        )
    read = read_weight_file(path)
    name, network = _choose(path, read, request, known)
    size = own_size(name, read, network)
    fit = fit_tensors(name, read, path, size, network, allowed=request.allowed)
    return name, fit


def import_weights(given: Path, out: Path, request: ImportRequest) -> tuple[str, Fit]:
    """Write a file of others as one of ours, under timm's names and with its network as metadata.

    Returns:
        See `inspect_weights`.

    Raises:
        WeightsError: Or if ``out`` exists, or no network is named.
        SettingsError: See `inspect_weights`.
    """
    if out.suffix != ".safetensors":
        raise WeightsError(f"--out {out}: not a name of a .safetensors file.", "End it with `.safetensors`.")
    if out.exists():
        raise WeightsError(f"--out {out}: exists already.", "Choose another name, or delete it.")
    if not (request.preset or request.backbone or given.is_dir()):
        raise WeightsError(
            f"{given}: of which network is not said.",
            f"Give `--as NAME` ({', '.join(PRESETS)}) or `--backbone NAME`; `fusionln weights inspect` tries some.",
        )
    name, fit = inspect_weights(given, request)
    base = fit.network or _by_name(name, fit.body)
    network = base.model_copy(update={"backbone": name, "missing": fit.missing})
    tensors = {n: t for n, t in fit.body.state_dict().items() if n not in fit.missing}
    save_tensors(out, tensors, {"format": "pt", **metadata_of(network)})
    return name, fit


def _choose(path: Path, read: Unwrapped, request: ImportRequest, known: Network | None) -> tuple[str, Network | None]:
    """Choose the network: of those that may be meant, the one that the most tensors match."""
    asked = find_network(request.backbone) if request.backbone else None
    networks: dict[str, Network | None]
    if request.preset:
        preset = find_preset(request.preset)
        networks = {each: network_of(preset, request.preset, each) for each in networks_of(request.preset, asked)}
    elif asked or known:
        networks = {asked or find_network(known.backbone if known else ""): known}
    else:
        of_presets = [network for preset in PRESETS.values() for network in preset.networks]
        usual = list(dict.fromkeys([*map(find_network, PAPER_BACKBONES), *USUAL, *of_presets]))
        networks = dict.fromkeys(_with_stem(read, usual) or usual)
    described = {name: _described(request, network, name) for name, network in networks.items()}
    if len(described) == 1:
        return next(iter(described.items()))
    shares = {name: _share(read, name, network) for name, network in described.items()}
    best = max(shares, key=lambda name: shares[name])  # of several whole ones the largest: it holds the others
    share, *_ = shares[best]
    if share < 1 and not request.preset:
        raise WeightsError(
            f"{path}: fits none of {len(shares)} networks that were tried; {best} is nearest "
            f"({share:.0%} of its tensors match).",
            "Name its network with `--backbone NAME`.",
        )
    return best, described[best]


def _described(request: ImportRequest, network: Network | None, name: str) -> Network | None:
    """Let the options go before what the preset or the file tells; None where nothing is told."""
    if request.mean is None and request.std is None and not request.arguments:
        return network
    network = network or _by_name(name, body_on_meta(name, None, {}))
    changes = {
        "arguments": {**network.arguments, **request.arguments},
        "mean": request.mean or network.mean,
        "std": request.std or network.std,
    }
    return Network.read(network.model_dump() | changes, "options")


def _by_name(name: str, body: nn.Module) -> Network:
    """Describe a network of which its name says all."""
    mean, std = statistics_of(body)
    return Network(backbone=name, mean=mean, std=std)


def _with_stem(read: Unwrapped, names: Sequence[str]) -> list[str]:
    """Choose the networks whose first convolution has a side that one of the file's has: building all takes long."""
    convolutions = [tensor.shape for tensor in read.tensors.values() if tensor.ndim == 4]
    of_colour = {shape[-1] for shape in convolutions if shape[1] == 3}
    sides = of_colour or {shape[-1] for shape in convolutions if shape[1] == 1}  # depthwise ones, too
    return [name for name in names if (side := _stem_side(name)) is None or side in sides]


def _stem_side(name: str) -> int | None:
    """Tell the side of a usual network's first convolution by its name; None of others."""
    if patch := re.search(r"patch(\d+)", name):
        return int(patch[1])
    return next((side for family, side in STEMS.items() if name.startswith(family)), None)


def _share(read: Unwrapped, name: str, network: Network | None) -> tuple[float, int, int]:
    """Compute the share of a network's tensors that a file holds, their number, and that of those resized, negative."""
    shapes = {n: t.shape for n, t in floating(body_on_meta(name, None, network.arguments if network else {})).items()}
    found = match(read.tensors, shapes)
    return len(found.matched) / len(shapes), len(found.matched), -len(found.resized)
