"""Weights of backbones: ImageNet's, public checkpoints, and checkpoints of this package."""

import logging
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fusion_ln.errors import WeightsError, in_short
from fusion_ln.runs import weight_file
from fusion_ln.terms import cache_folder

BACKBONE_PREFIX = "backbone."  # of a backbone's tensors in our own checkpoints
BODY_PREFIX = f"{BACKBONE_PREFIX}body."  # of those of its timm network
LAST_NORMS = ("norm.", "fc_norm.")  # of transformers: which of them a network has depends on how it pools
WEIGHT_MARK = 1000.0  # above any weight that is drawn; float32 tells some millions of marks apart
NAMED = 5  # missing tensors that a message lists


def load_body(timm_name: str, weights: str, image_size: int) -> nn.Module:
    """Build a timm network without its classifier and load its weights.

    Args:
        timm_name: A name that timm knows.
        weights: See `fusion_ln.models.backbones.create_backbone`.
        image_size: Pixels a side; networks with position embeddings are built for it.

    Raises:
        WeightsError: If the weights cannot be had, or are another network's.
        RunError: If the folder is not that of a finished pre-training.
    """
    size: dict[str, Any] = {"img_size": image_size} if _config(timm_name).fixed_input_size else {}
    if weights == "scratch":
        body: nn.Module = timm.create_model(timm_name, num_classes=0, **size)
        return body
    if weights == "imagenet":
        return _load_imagenet(timm_name, size)
    return _load_file(timm_name, weight_file(Path(weights)), size)


def _config(timm_name: str) -> timm.models.PretrainedCfg:
    """Look up timm's description of a network."""
    config = timm.get_pretrained_cfg(timm_name)
    assert config is not None, timm_name
    return config


def _load_imagenet(timm_name: str, size: dict[str, Any]) -> nn.Module:
    """Load ImageNet weights from the cache folder or, failing that, from timm's hub."""
    local = cache_folder() / "weights" / f"{timm_name}.safetensors"
    if local.is_file():
        return _load_timm_file(timm_name, local, size)
    logging.getLogger("timm").setLevel(logging.ERROR)  # the message below replaces its warnings
    try:
        return timm.create_model(timm_name, pretrained=True, num_classes=0, **size)
    except Exception as error:  # the hub, its client and the network each raise their own
        reason = str(error).strip().split("\n")[0][:200]
        architecture, tag = timm_name.partition(".")[0], _config(timm_name).tag
        page = f"timm/{architecture}.{tag}" if tag else f"timm/{architecture}"
        raise WeightsError(
            f"{timm_name}: its ImageNet weights could not be downloaded ({reason}).",
            f"Download model.safetensors of {page} (Hugging Face) elsewhere and put it at {local}, "
            "give another file with `--weights FILE`, or train from scratch (`--weights scratch`).",
        ) from None


def _load_file(timm_name: str, path: Path, size: dict[str, Any]) -> nn.Module:
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weight file.", "`--weights` takes `scratch`, `imagenet`, a file or a pre-training."
        )
    if not _is_ours(path):
        return _load_timm_file(timm_name, path, size)
    body: nn.Module = timm.create_model(timm_name, num_classes=0, **size)
    tensors = {k.removeprefix(BODY_PREFIX): v for k, v in load_file(path).items() if k.startswith(BODY_PREFIX)}
    try:
        body.load_state_dict(tensors)
    except RuntimeError as error:
        raise _wrong_network(path, timm_name, error) from None
    _refuse_not_finite(path, tensors)
    return body


def _load_timm_file(timm_name: str, path: Path, size: dict[str, Any]) -> nn.Module:
    """Load a file through timm, which drops the classifier and fits position embeddings to the size.

    Without a classifier timm overlooks tensors that the file lacks, so all are checked, vectors of norms too.
    """
    try:
        held = timm.models.load_state_dict(str(path))
        loaded = _with_weights(timm_name, {"file": str(path)}, size)
        _check_complete(timm_name, held, size)
    except Exception as error:  # unpickling, safetensors and load_state_dict each raise their own
        if isinstance(error, UnpicklingError) or "weights_only" in str(error):  # which advise to load it unsafely
            raise WeightsError(
                f"{path}: is no weight file, or holds other objects than tensors, which could run code; not loaded.",
                "Give a .safetensors file, or a state dictionary as `torch.save(model.state_dict(), FILE)` writes it.",
            ) from None
        raise _wrong_network(path, timm_name, error) from None
    _refuse_not_finite(path, loaded.state_dict())
    return loaded


def _with_weights(timm_name: str, source: dict[str, Any], size: dict[str, Any]) -> nn.Module:
    """Build a network without its classifier and let timm load its weights, leaving torch's random state alone."""
    with torch.random.fork_rng(devices=[]):
        body: nn.Module = timm.create_model(
            timm_name, pretrained=True, pretrained_cfg_overlay=source, num_classes=0, **size
        )
    return body


def _check_complete(timm_name: str, held: dict[str, Tensor], size: dict[str, Any]) -> None:
    """Check that every weight of a network comes from a file, and that no norm of the file's network is dropped.

    timm renames, joins and resizes tensors on the way. So each tensor of the file is filled with a number of its own,
    which no drawn weight has, and then looked for in the network.

    Raises:
        ValueError: Naming the number of tensors that match, and those that do not.
    """
    marks = {name: WEIGHT_MARK + place for place, name in enumerate(held)}
    filled = {k: torch.full(v.shape, marks[k]) if v.is_floating_point() else v for k, v in held.items()}
    body = _with_weights(timm_name, {"state_dict": filled}, size)
    buffers = {name: tensor for name, tensor in body.named_buffers() if "running_" in name}
    tensors = {name: tensor.detach() for name, tensor in (*body.named_parameters(), *buffers.items())}
    if absent := [name for name, tensor in tensors.items() if tensor.numel() and tensor.max() < WEIGHT_MARK - 1]:
        listed = ", ".join(absent[:NAMED]) + (f" and {len(absent) - NAMED} more" if len(absent) > NAMED else "")
        raise ValueError(f"{len(tensors) - len(absent)} of {len(tensors)} tensors match; it lacks {listed}")
    for name, value in held.items():
        if name.startswith(LAST_NORMS) and not any(
            tensor.shape == value.shape and bool((tensor == marks[name]).all()) for tensor in tensors.values()
        ):
            raise ValueError(f"all {len(tensors)} tensors match, but its {name} has no place in the network")


def _refuse_not_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        WeightsError: Naming the first such tensor.
    """
    if name := first_not_finite(tensors):
        raise WeightsError(f"{path}: {name} holds values that are not finite numbers.", "Give another weight file.")


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Find the first tensor that holds NaN or infinity."""
    return next((k for k, v in tensors.items() if v.is_floating_point() and not bool(v.isfinite().all())), None)


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return any(key.startswith(BACKBONE_PREFIX) for key in file.keys())  # noqa: SIM118 (not a dictionary)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({error}).", "Fetch or make the file again.") from None


def _wrong_network(path: Path, name: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path}: not weights of {name} ({in_short(error, most=300)}).",
        "Give the file of that network, or choose it with `--backbone`.",
    )
