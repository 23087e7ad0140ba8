"""Weights of backbones: ImageNet's, public checkpoints, and checkpoints of this package."""

import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from fusion_ln.errors import WeightsError, in_short
from fusion_ln.models.library import timm
from fusion_ln.models.weights.describe import describe_fit
from fusion_ln.models.weights.fit import Fit, body_on_meta, build_body, constructor, fit_file
from fusion_ln.models.weights.network import Network, read_network, read_timm_folder
from fusion_ln.models.weights.places import NAMES, weight_file
from fusion_ln.models.weights.sound import refuse_no_weights
from fusion_ln.terms import cache_folder

BACKBONE_PREFIX = "backbone."  # of a backbone's tensors in our own checkpoints
BODY_PREFIX = f"{BACKBONE_PREFIX}body."  # of those of its timm network


def load_body(
    timm_name: str, weights: str, image_size: int, network: Network | None = None
) -> tuple[nn.Module, Network | None]:
    """Build a timm network without its classifier and load its weights.

    Args:
        timm_name: A name that timm knows.
        weights: See `fusion_ln.models.backbones.create_backbone`.
        image_size: Pixels a side; networks with position embeddings are built for it.
        network: Of a network from scratch into which trained weights are loaded; else what the file tells is used.

    Returns:
        The network, and what is known of its weights beyond their tensors.

    Raises:
        WeightsError: If the weights cannot be had, or are another network's.
        RunError: If the folder is not that of a finished pre-training.
    """
    if weights == "scratch":
        return build_body(timm_name, image_size, network.arguments if network else {}), network
    if weights == "imagenet":
        return _load_imagenet(timm_name, image_size), None
    path = weight_file(Path(weights))
    if _is_ours(path):
        return _load_ours(timm_name, path, image_size)
    fit = fit_weights(timm_name, weights, image_size)
    return fit.body, fit.network


def fit_weights(timm_name: str, weights: str, image_size: int | None) -> Fit:
    """Fit a file of others, an imported one, or a folder that timm opens, to a network.

    Raises:
        WeightsError: See `fit_file`.
    """
    return fit_file(timm_name, weight_file(Path(weights)), image_size, known_network(weights))


def known_network(weights: str) -> Network | None:
    """Read what a weight file, as given to ``--weights``, tells beyond its tensors; None: nothing, or it is missing.

    Raises:
        WeightsError, RunError: If its description cannot be read.
    """
    given = Path(weights)
    path = weight_file(given)
    return (read_timm_folder(given) if given.is_dir() else None) or (read_network(path) if path.is_file() else None)


def check_file(timm_name: str, weights: str, image_size: int) -> str:
    """Load weights once, and describe in a line how a file of others fits; empty for ImageNet's and ours.

    Raises:
        WeightsError, RunError: See `load_body`.
    """
    if weights in NAMES or _is_ours(path := weight_file(Path(weights))):
        load_body(timm_name, weights, image_size)
        return ""
    lines = describe_fit(fit_weights(timm_name, weights, image_size), timm_name)
    return "; ".join([f"{path}: {lines['Matched']} match", lines["Pictures"], *filter(None, [lines.get("Network")])])


def _load_imagenet(timm_name: str, image_size: int) -> nn.Module:
    """Load ImageNet weights from the cache folder or, failing that, from timm's hub."""
    local = cache_folder() / "weights" / f"{timm_name}.safetensors"
    if local.is_file():
        return fit_file(timm_name, local, image_size).body
    logging.getLogger("timm").setLevel(logging.ERROR)  # the message below replaces its warnings
    try:
        size = constructor(timm_name, image_size, {})
        body: nn.Module = timm.create_model(timm_name, pretrained=True, num_classes=0, **size)
    except Exception as error:  # the hub, its client and the network each raise their own
        reason = str(error).strip().split("\n")[0][:200]
        config = timm.get_pretrained_cfg(timm_name)
        architecture, tag = timm_name.partition(".")[0], config.tag if config else None
        page = f"timm/{architecture}.{tag}" if tag else f"timm/{architecture}"
        raise WeightsError(
            f"{timm_name}: its ImageNet weights could not be downloaded ({reason}).",
            f"Download model.safetensors of {page} (Hugging Face) elsewhere and put it at {local}, "
            "give another file with `--weights FILE`, or train from scratch (`--weights scratch`).",
        ) from None
    return body


def _load_ours(timm_name: str, path: Path, image_size: int) -> tuple[nn.Module, Network | None]:
    """Load the backbone of a checkpoint or a pre-training of ours."""
    network = read_network(path)
    if network:
        body_on_meta(timm_name, image_size, network.arguments)  # refused, where they are another network's
    body = build_body(timm_name, image_size, network.arguments if network else {})
    tensors = {k.removeprefix(BODY_PREFIX): v for k, v in load_file(path).items() if k.startswith(BODY_PREFIX)}
    try:
        body.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: not weights of {timm_name} ({in_short(error, most=300)}).",
            "Give the file of that network, or choose it with `--backbone`.",
        ) from None
    refuse_no_weights(path, tensors)
    return body, network


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return any(key.startswith(BODY_PREFIX) for key in file.keys())  # noqa: SIM118 (not a dictionary)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({error}).", "Fetch or make the file again.") from None
