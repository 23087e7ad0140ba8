"""Backbones by name, with or without trained weights. timm is imported by `library`."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.models.library import resolve_model_data_config, timm
from fusion_ln.models.weights.load import load_body
from fusion_ln.models.weights.network import Network
from fusion_ln.progress import say
from fusion_ln.terms import PAPER_BACKBONES

# The paper's four under their torchvision names, where timm's differ; any other name is timm's own.
TIMM_NAMES = {"efficientnet_b7": "tf_efficientnet_b7", "vit_b_16": "vit_base_patch16_384"}

Trunk = Callable[[Tensor], Tensor]  # pictures (N, 3, S, S) to the feature maps of a network


def memory_layout(model: nn.Module) -> torch.memory_format:
    """Choose the layout of a model's pictures and weights: channels last, which convolutions are fastest with.

    Networks with branches that timm can merge after training (``reparameterize``: RepVGG, MobileOne, FastViT) are
    computed plane by plane: with channels last torch 2.14 writes beyond its memory when it trains them on a CPU.
    """
    merged = any(hasattr(module, "reparameterize") for module in model.modules())
    return torch.contiguous_format if merged else torch.channels_last


class Backbone(nn.Module):
    """A timm network without its classifier, and the normalisation that it was made for.

    Attributes:
        n_features: D, width of the pooled features.
        n_token_features: D', width of the tokens.
        network: Constructor and normalisation that its weights brought along; None: those of its name.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: Any, network: Network | None = None) -> None:
        super().__init__()
        statistics = resolve_model_data_config(body)  # type: ignore[no-untyped-call]
        if network is not None:
            statistics = {"mean": network.mean, "std": network.std}
        self.body = body
        self.network = network
        self._in_planes = memory_layout(body) is torch.contiguous_format
        self.n_token_features = int(body.num_features)
        self.n_features = int(getattr(body, "head_hidden_size", None) or body.num_features)
        self.register_buffer("mean", torch.tensor(statistics["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics["std"]).view(3, 1, 1), persistent=False)

    @property
    def architecture(self) -> str:
        """Name of the timm network, without a tag; empty for a body that timm did not build."""
        return str((getattr(self.body, "pretrained_cfg", None) or {}).get("architecture") or "")

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute pooled features (B, D) of pictures in [0, 1], shape (B, 3, H, W)."""
        return self.pool(self.feature_map(pictures))

    def feature_map(self, pictures: Tensor) -> Tensor:
        """Compute the output of the network's last stage, in the network's own layout."""
        normalised = (pictures - self.mean) / self.std
        if self._in_planes:
            normalised = normalised.contiguous()
        features: Tensor = self.body.forward_features(normalised)
        return features

    def pool(self, feature_map: Tensor) -> Tensor:
        """Pool a feature map to features (B, D)."""
        pooled: Tensor = self.body.forward_head(feature_map, pre_logits=True)
        return pooled

    def tokens(self, feature_map: Tensor, grid: int) -> Tensor:
        """Turn a feature map into tokens, averaged over cells where it is finer than ``grid`` x ``grid``.

        Returns:
            Shape (B, T, D'), T at most ``grid`` squared, row by row; D' is `n_token_features`.

        Raises:
            SettingsError: If the network keeps no spatial features.
        """
        planes = self.planes(feature_map)
        height, width = planes.shape[2:]
        return F.adaptive_avg_pool2d(planes, (min(grid, height), min(grid, width))).flatten(2).transpose(1, 2)

    def layer_rates(self, decay: float) -> dict[str, float]:
        """Give each parameter of the network its share of the rate, which falls by ``decay`` from layer to layer.

        The head above is the layer that learns at all of it (Bao et al. 2022, BEiT), so the network's last has one
        ``decay``.

        Raises:
            SettingsError: If timm knows no layers of the network.
        """
        from timm.optim import param_groups_layer_decay  # brings torch's compiler along

        groups = param_groups_layer_decay(self.body, layer_decay=decay)
        names = {id(parameter): f"body.{name}" for name, parameter in self.body.named_parameters()}
        rates = {names[id(each)]: decay * float(group["lr_scale"]) for group in groups for each in group["params"]}
        if len(set(rates.values())) < 2:
            raise SettingsError("layer_decay: timm knows no layers of this backbone.", "Leave it at 1.")
        return rates

    def planes(self, feature_map: Tensor) -> Tensor:
        """Turn a feature map into planes (B, D', h, w).

        Raises:
            SettingsError: If the network keeps no spatial features.
        """
        dimensions = feature_map.ndim if isinstance(feature_map, Tensor) else 0  # some networks give several maps
        planes = None
        if dimensions == 3:  # (B, prefix + h * w, D'): patches behind class and register tokens
            patches = feature_map[:, getattr(self.body, "num_prefix_tokens", 0) :]
            side = math.isqrt(patches.shape[1])
            if side**2 == patches.shape[1]:
                planes = patches.transpose(1, 2).reshape(patches.shape[0], -1, side, side)
        elif dimensions == 4:
            channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
            planes = feature_map.permute(0, 3, 1, 2) if channels_last else feature_map
        if planes is None or planes.shape[1] != self.n_token_features:
            raise SettingsError("This backbone keeps no spatial features.", "Choose another, such as `resnet152`.")
        return planes


def create_backbone(
    name: str, *, image_size: int, weights: str = "scratch", network: Network | None = None
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: One of `PAPER_BACKBONES` or any timm name.
        image_size: Pixels a side; networks with position embeddings are built for it.
        weights: ``scratch``, ``imagenet``, the path of a weight file (of others, or a checkpoint of ours), or the
            folder of a pre-training or of a network that timm opens.
        network: Of a network from scratch into which trained weights are loaded: what their file says of it.

    Raises:
        SettingsError: If the name is unknown; the nearest known ones are named.
        WeightsError: If the weights cannot be had, or are another network's.
        RunError: If the folder is not that of a finished pre-training.
    """
    return Backbone(*load_body(find_network(name), weights, image_size, network))


def describe_for_timm(backbone: Backbone, image_size: int) -> dict[str, object]:
    """Describe a backbone as timm's ``config.json`` does, so that timm builds it again beside its weights.

    Pictures are scaled to their longer side and padded, as ours are; timm pads with the mean colour, not with black.
    """
    body = backbone.body
    held = timm.models.filter_pretrained_cfg(  # type: ignore[no-untyped-call]
        dict(body.pretrained_cfg), remove_source=True, remove_null=True
    )
    architecture, fixed = held.pop("architecture"), bool(held.get("fixed_input_size"))
    arguments = backbone.network.arguments if backbone.network else {}
    gone = ("tag", "label_offset", "test_input_size", "test_crop_pct", "pool_size", "license", "origin_url")
    config = {
        **{key: value for key, value in held.items() if key not in gone},
        "input_size": [3, image_size, image_size],
        "interpolation": "bicubic",
        "crop_mode": "border",
        "crop_pct": 1.0,
        "mean": [round(value, 6) for value in backbone.mean.flatten().tolist()],
        "std": [round(value, 6) for value in backbone.std.flatten().tolist()],
        "num_classes": 0,
        "custom_load": False,
    }
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": body.num_features,
        "model_args": {**({"img_size": image_size} if fixed else {}), **arguments},
        "pretrained_cfg": config,
    }


def find_network(name: str) -> str:
    """Find timm's name of a backbone, where the paper has another or timm itself has renamed it.

    Raises:
        SettingsError: If there is none; names the nearest that exist.
    """
    timm_name = TIMM_NAMES.get(name, name)
    architecture, dot, tag = timm_name.partition(".")
    if not timm.is_model(timm_name):
        listing = f"{', '.join(PAPER_BACKBONES)}, resnet10t, and every name of timm.list_models()"
        raise SettingsError(*unknown("backbone", name, [*PAPER_BACKBONES, *timm.list_models()], listing=listing))
    if architecture in (renamed := timm.models.get_deprecated_models()):
        if renamed[architecture] is None:
            raise SettingsError(f"{name}: timm has removed this network.", "Choose another, such as `resnet152`.")
        if dot:
            raise SettingsError(f"{name}: an old name, which has no tags.", f"Now it is `{renamed[architecture]}`.")
        return str(renamed[architecture])
    if dot:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        if tag not in tags:
            raise SettingsError(*unknown("tag", tag, tags, where=name))
    return timm_name


def check_backbone(name: str) -> None:
    """Refuse a name that neither the paper nor timm uses, and say what became of one that timm has renamed.

    Raises:
        SettingsError: See `find_network`.
    """
    if (now := find_network(name)) != TIMM_NAMES.get(name, name):
        _say_renamed(name, now)


@cache
def _say_renamed(name: str, now: str) -> None:
    say(f"{name} is an old name in timm; the network is now called {now}.")
