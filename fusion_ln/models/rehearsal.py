"""Rehearsal of networks and heads before anything is prepared: a batch of shapes alone, on torch's meta device."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from fusion_ln.errors import FusionLNError, SettingsError, in_short
from fusion_ln.models.backbones import check_backbone, create_backbone, find_network
from fusion_ln.models.convolutions import Convolutions
from fusion_ln.models.fusion.base import Triplets, TripletShape, build_head
from fusion_ln.models.library import timm
from fusion_ln.models.weights.load import check_file, known_network
from fusion_ln.progress import say
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings

# Pixels a side that are tried to name some that a network takes; 112 and 224 suit patches of 14 pixels.
TRIED_SIZES = (32, 64, 96, 112, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)
REHEARSED = 2
KEPT = 3.0  # numbers of a batch in memory, by output of a layer
TORCH_ITSELF = 1 << 30  # bytes: kernels, workspaces
TOKENS_NEEDED = "Choose late fusions (`--head late-mean`), or another backbone, such as `resnet152`."


@dataclass(frozen=True)
class Rehearsal:
    """Outcome of a batch through a network.

    Attributes:
        problem: Reason why the network does not take such pictures; empty: it does.
        tokens: Number and width of a picture's tokens; None: it gives none.
        size: Bytes of its weights.
        depthwise: Outputs of depthwise convolutions per multiplication, see `suited_precision`.
        outputs: Outputs of all convolutions and products, of a picture.
    """

    problem: str = ""
    tokens: tuple[int, int] | None = None
    size: int = 0
    depthwise: float = 0.0
    outputs: int = 0


@cache
def rehearse(name: str, image_size: int, grid: int = 1) -> Rehearsal:
    """Pass a batch of shapes through a network: features, and tokens on a grid of at most this many a side.

    Raises:
        SettingsError: If there is no such network.
    """
    find_network(name)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            backbone = create_backbone(name, image_size=image_size)
            with Convolutions() as counted:
                feature_map = backbone.feature_map(torch.zeros(REHEARSED, 3, image_size, image_size))
            features = backbone.pool(feature_map)
    except Exception as error:  # every network has errors of its own
        return Rehearsal(problem=in_short(error, most=150))
    if tuple(features.shape) != (REHEARSED, backbone.n_features):
        return Rehearsal(problem=f"features of shape {tuple(features.shape)}, not {(REHEARSED, backbone.n_features)}")
    size = sum(tensor.nbytes for tensor in backbone.state_dict().values())
    try:
        _, number, width = backbone.tokens(feature_map, grid).shape
    except FusionLNError:
        number = width = 0
    tokens, outputs = (number, width) if width else None, counted.outputs // REHEARSED
    return Rehearsal(tokens=tokens, size=size, depthwise=counted.depthwise, outputs=outputs)


def training_memory(fit: FitSettings, n_pictures: int) -> int:
    """Estimate the bytes of a GPU's memory that a fit takes, see experiments/benchmarks/gpu.md.

    They hold weights, gradients and Adam's two moments; of every picture of a batch the outputs of layers, which the
    backward pass needs, and their normalised and cast copies; the modality's pictures; and what torch takes.
    """
    rehearsed = rehearse(fit.backbone, fit.image_size)
    number = 4 if fit.precision == "32-true" else 2
    kept = int(KEPT * rehearsed.outputs * fit.batch_size * number)
    return 4 * rehearsed.size + kept + 3 * n_pictures * fit.image_size**2 + TORCH_ITSELF


def check_network(name: str, image_size: int) -> None:
    """Refuse a network that does not exist or takes no pictures of this size.

    Raises:
        SettingsError: Naming some sizes that it takes.
    """
    check_backbone(name)
    if not (problem := rehearse(name, image_size).problem):
        return
    if sizes := sizes_of(name):
        nearest = min(sizes, key=lambda size: (abs(size - image_size), size))
        raise SettingsError(
            f"{name}: takes no pictures of {image_size} x {image_size} pixels ({problem}).",
            f"Give `--image-size {nearest}`, or another that it takes ({', '.join(map(str, sizes))}), or choose "
            "another backbone.",
        )
    raise SettingsError(f"{name}: cannot be trained here ({problem}).", "Choose another backbone, such as `resnet152`.")


@cache
def check_weights(name: str, image_size: int, weights: str) -> None:
    """Refuse weights that cannot be had or are another network's, by loading them once; say how a file fits.

    Raises:
        WeightsError, RunError: See `create_backbone`.
    """
    if weights != "scratch":
        with torch.random.fork_rng(devices=[]):
            fits = check_file(find_network(name), weights, image_size)
        if fits:
            say(f"{fits}.")


def sizes_of(name: str) -> list[int]:
    """Find sizes of pictures that a network takes, its own among them."""
    config = timm.get_pretrained_cfg(find_network(name))
    sizes = {*TRIED_SIZES, *(config.input_size[1:2] if config else ())}
    return [size for size in sorted(sizes) if not rehearse(name, size).problem]


def check_tokens(fits: Mapping[str, FitSettings], head: HeadSettings) -> tuple[int, ...]:
    """Refuse networks whose tokens a trained head cannot learn from.

    Args:
        fits: Settings of the network of each modality.
        head: Settings of the head.

    Returns:
        Number and width of the tokens of a picture.

    Raises:
        SettingsError: If a network gives no tokens, networks give different ones, or pre-trained ones are asked for
            of networks that begin from scratch.
    """
    if head.tokens == "pretrained" and (drawn := [m for m, fit in fits.items() if fit.weights == "scratch"]):
        raise SettingsError(
            f"--tokens pretrained: the baselines ({', '.join(drawn)}) are trained from scratch, so there is no "
            "pre-trained network.",
            "Train them with `--weights`, or take `--tokens fitted`.",
        )
    if head.tokens == "pretrained":
        _refuse_partial_weights(fits)
    shapes: dict[str, tuple[int, ...]] = {}
    for modality, fit in fits.items():
        check_network(fit.backbone, fit.image_size)
        tokens = rehearse(fit.backbone, fit.image_size, head.grid).tokens
        if tokens is None:
            raise SettingsError(
                f"{fit.backbone}: keeps no features of places in the picture, from which --head {head.head} learns.",
                TOKENS_NEEDED,
            )
        shapes[modality] = tokens
    return common_tokens(shapes)


def _refuse_partial_weights(fits: Mapping[str, FitSettings]) -> None:
    """Refuse weights that lack tensors, which each loading would draw anew: the head would learn from other tokens.

    Raises:
        SettingsError: Naming the weights.
    """
    known = {fit.weights: known_network(fit.weights) for fit in fits.values()}
    for weights, network in known.items():
        if network is not None and network.missing:
            raise SettingsError(
                f"--tokens pretrained: {weights} lacks tensors of {network.backbone} "
                f"({', '.join(network.missing[:3])}), which training draws: no network can be asked again.",
                "Take `--tokens fitted`, or weights that are whole.",
            )


def common_tokens(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return number and width of the tokens, which all networks must share.

    Raises:
        SettingsError: If they differ.
    """
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {tokens} of {width}" for name, (tokens, width) in shapes.items())
        raise SettingsError(
            f"The baselines' networks give different tokens ({listed}).",
            "Train all modalities with the same `--backbone` and `--image-size`, or take a late fusion.",
        )
    return next(iter(shapes.values()))


def check_head(fits: Mapping[str, FitSettings], head: HeadSettings, n_classes: int) -> None:
    """Pass a batch of shapes through a trained head, on the tokens of its networks.

    Raises:
        SettingsError: See `check_tokens`.
    """
    number, width = check_tokens(fits, head)
    shape = TripletShape(len(fits), width, n_classes, n_clinical=len(head.clinical))
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        triplets = Triplets(
            tokens=torch.zeros(REHEARSED, len(fits), 1, number, width),
            logits=torch.zeros(REHEARSED, len(fits), 1, n_classes),
            present=torch.ones(REHEARSED, len(fits), 1, dtype=torch.bool),
            clinical=torch.zeros(REHEARSED, len(head.clinical)),
        )
        build_head(head, shape)(triplets)
