"""Weights of backbones: ImageNet's, public checkpoints, and checkpoints of this package."""

import logging
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from fusion_ln.errors import WeightsError
from fusion_ln.runs import weight_file
from fusion_ln.terms import cache_folder

BACKBONE_PREFIX = "backbone."  # of a backbone's tensors in our own checkpoints
BODY_PREFIX = f"{BACKBONE_PREFIX}body."  # of those of its timm network


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
        tag = _config(timm_name).tag
        page = f"timm/{timm_name}.{tag}" if tag else f"timm/{timm_name}"
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
    return body


def _load_timm_file(timm_name: str, path: Path, size: dict[str, Any]) -> nn.Module:
    """Load a file through timm, which drops the classifier and fits position embeddings to the size.

    Without a classifier timm overlooks tensors that the file lacks. A weight matrix that is as it was drawn
    before loading was not in the file.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = timm.create_model(timm_name, num_classes=0, **size).state_dict()
        torch.manual_seed(0)
        try:
            loaded = timm.create_model(
                timm_name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, num_classes=0, **size
            )
        except Exception as error:  # unpickling, safetensors and load_state_dict each raise their own
            raise _wrong_network(path, timm_name, error) from None
    matrices = {name: tensor for name, tensor in loaded.state_dict().items() if tensor.ndim > 1 and drawn[name].any()}
    if absent := [name for name, tensor in matrices.items() if torch.equal(tensor, drawn[name])]:
        raise _wrong_network(path, timm_name, ValueError(f"it lacks {absent[0]} and {len(absent) - 1} more"))
    return loaded


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    with safe_open(path, framework="pt") as file:
        return any(key.startswith(BACKBONE_PREFIX) for key in file.keys())  # noqa: SIM118 (not a dictionary)


def _wrong_network(path: Path, name: str, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:300]
    return WeightsError(
        f"{path}: not weights of {name} ({reason}).", "Give the file of that network, or choose it with `--backbone`."
    )
