"""Backbones by name, with or without trained weights. The only file that calls timm."""

import difflib
import logging
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from fusion_ln.errors import SettingsError, WeightsError
from fusion_ln.runs import weight_file
from fusion_ln.terms import PAPER_BACKBONES, cache_folder

# The paper's four under their torchvision names, where timm's differ; any other name is timm's own.
TIMM_NAMES = {"efficientnet_b7": "tf_efficientnet_b7", "vit_b_16": "vit_base_patch16_384"}
BACKBONE = "backbone."  # prefix of a backbone's tensors in our own checkpoints


class Backbone(nn.Module):
    """A timm network without its classifier, and the normalisation that it was made for.

    Attributes:
        n_features: D, width of the pooled features.
        n_token_features: D', width of the tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: Any) -> None:
        super().__init__()
        statistics = resolve_model_data_config(body)  # type: ignore[no-untyped-call]
        self.body = body
        self.n_token_features = int(body.num_features)
        self.n_features = int(getattr(body, "head_hidden_size", None) or body.num_features)
        self.register_buffer("mean", torch.tensor(statistics["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics["std"]).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1], shape (B, 3, H, W), to pooled features (B, D)."""
        return self.pool(self.feature_map(pictures))

    def feature_map(self, pictures: Tensor) -> Tensor:
        """What the network's last stage says, in the network's own layout."""
        features: Tensor = self.body.forward_features((pictures - self.mean) / self.std)
        return features

    def pool(self, feature_map: Tensor) -> Tensor:
        """A feature map to pooled features (B, D)."""
        pooled: Tensor = self.body.forward_head(feature_map, pre_logits=True)
        return pooled

    def tokens(self, feature_map: Tensor, grid: int) -> Tensor:
        """A feature map to tokens, averaged over cells where it is finer than ``grid`` x ``grid``.

        Returns:
            Shape (B, T, D'), T at most ``grid`` squared, row by row; D' is `n_token_features`.

        Raises:
            SettingsError: If the network keeps no spatial features.
        """
        if feature_map.ndim == 3:  # (B, prefix + h * w, D'): patches behind class and register tokens
            patches = feature_map[:, self.body.num_prefix_tokens :]
            side = round(patches.shape[1] ** 0.5)
            planes = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        elif feature_map.ndim == 4:
            channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
            planes = feature_map.permute(0, 3, 1, 2) if channels_last else feature_map
        else:
            raise SettingsError("This backbone keeps no spatial features.", "Choose another, such as `resnet152`.")
        height, width = planes.shape[2:]
        return F.adaptive_avg_pool2d(planes, (min(grid, height), min(grid, width))).flatten(2).transpose(1, 2)


def create_backbone(name: str, *, image_size: int, weights: str = "scratch") -> Backbone:
    """Build a backbone by name.

    Args:
        name: One of `PAPER_BACKBONES` or any timm name.
        image_size: Pixels a side; networks with position embeddings are built for it.
        weights: ``scratch``, ``imagenet``, the path of a weight file (timm's own format, or a checkpoint of ours), or
            the folder of a pre-training.

    Raises:
        SettingsError: If the name is unknown; the nearest known ones are named.
        WeightsError: If the weights cannot be had, or are another network's.
        RunError: If the folder is not that of a finished pre-training.
    """
    check_backbone(name)
    timm_name = TIMM_NAMES.get(name, name)
    size: dict[str, Any] = {"img_size": image_size} if _described(timm_name).fixed_input_size else {}
    if weights == "scratch":
        return Backbone(timm.create_model(timm_name, num_classes=0, **size))
    if weights == "imagenet":
        return Backbone(_imagenet(timm_name, size))
    return _from_file(timm_name, weight_file(Path(weights)), size)


def check_backbone(name: str) -> None:
    """Refuse a name that neither the paper nor timm uses.

    Raises:
        SettingsError: Naming the nearest that they do.
    """
    if timm.is_model(TIMM_NAMES.get(name, name)):
        return
    known = [*PAPER_BACKBONES, *timm.list_models()]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise SettingsError(
        f"{name}: unknown backbone.",
        f"{hint}Known: {', '.join(PAPER_BACKBONES)}, resnet10t, and every name of timm.list_models().",
    )


def _described(timm_name: str) -> timm.models.PretrainedCfg:
    """What timm says of a network that it knows."""
    described = timm.get_pretrained_cfg(timm_name)
    assert described is not None, timm_name
    return described


def _imagenet(timm_name: str, size: dict[str, Any]) -> nn.Module:
    """ImageNet weights from the cache folder or, failing that, from timm's hub."""
    local = cache_folder() / "weights" / f"{timm_name}.safetensors"
    if local.is_file():
        return _load(timm_name, local, size)
    logging.getLogger("timm").setLevel(logging.ERROR)  # the message below says what its warnings would
    try:
        return timm.create_model(timm_name, pretrained=True, num_classes=0, **size)
    except Exception as error:  # the hub, its client and the network each raise their own
        reason = str(error).strip().split("\n")[0][:200]
        tag = _described(timm_name).tag
        page = f"timm/{timm_name}.{tag}" if tag else f"timm/{timm_name}"
        raise WeightsError(
            f"{timm_name}: its ImageNet weights could not be downloaded ({reason}).",
            f"Download model.safetensors of {page} (Hugging Face) elsewhere and put it at {local}, "
            "give another file with `--weights FILE`, or train from scratch (`--weights scratch`).",
        ) from None


def _from_file(timm_name: str, path: Path, size: dict[str, Any]) -> Backbone:
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such weight file.", "`--weights` takes `scratch`, `imagenet`, a file or a pre-training."
        )
    if not _is_ours(path):
        return Backbone(_load(timm_name, path, size))
    backbone = Backbone(timm.create_model(timm_name, num_classes=0, **size))
    tensors = {k.removeprefix(BACKBONE): v for k, v in load_file(path).items() if k.startswith(BACKBONE)}
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise _wrong_network(path, timm_name, error) from None
    return backbone


def _load(timm_name: str, path: Path, size: dict[str, Any]) -> nn.Module:
    """Let timm read the file: it drops the classifier and fits position embeddings to the size.

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
        return any(key.startswith(BACKBONE) for key in file.keys())  # noqa: SIM118 (not a dictionary)


def _wrong_network(path: Path, name: str, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:300]
    return WeightsError(
        f"{path}: not weights of {name} ({reason}).", "Give the file of that network, or choose it with `--backbone`."
    )
