"""Layouts of published weight files: rules that rename their tensors to those of timm's networks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fusion_ln.models.weights.network import Argument


@dataclass(frozen=True)
class Layout:
    """Rule from the names of a file to timm's.

    Attributes:
        title: Words of the rule, for messages.
        rename: timm's name of a tensor; None for one that the rule does not know.
        torchvision: The names are of torchvision's files, whose normalisation is ImageNet's.
        arguments: Constructor arguments of timm's network that make it compute the same, by its name.
    """

    title: str
    rename: Callable[[str], str | None]
    torchvision: bool = False
    arguments: Callable[[str], Mapping[str, Argument]] = lambda name: {}


def _same(name: str) -> str | None:
    return name


def _fsdp_chunks(name: str) -> str | None:
    """``blocks.A.B.`` to ``blocks.B.``: DINOv2's training files hold the blocks in chunks."""
    found = re.fullmatch(r"blocks\.\d+\.(\d+)\.(.+)", name)
    return f"blocks.{found[1]}.{found[2]}" if found else name if not name.startswith("blocks.") else None


_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def _resnet_children(name: str) -> str | None:
    """``4.0.conv1`` to ``layer1.0.conv1``: RadImageNet's files number the children of torchvision's ResNet."""
    child, _, rest = name.partition(".")
    return f"{_CHILDREN[child]}.{rest}" if child in _CHILDREN and rest else None


_CONVNEXT_PARTS = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}


def _torchvision_convnext(name: str) -> str | None:
    if found := re.fullmatch(r"features\.0\.([01])\.(\w+)", name):
        return f"stem.{found[1]}.{found[2]}"
    if found := re.fullmatch(r"features\.([246])\.([01])\.(\w+)", name):
        return f"stages.{int(found[1]) // 2}.downsample.{found[2]}.{found[3]}"
    if found := re.fullmatch(r"features\.([1357])\.(\d+)\.(?:layer_scale|block\.([0235])\.(\w+))", name):
        part = f"{_CONVNEXT_PARTS[found[3]]}.{found[4]}" if found[3] else "gamma"
        return f"stages.{int(found[1]) // 2}.blocks.{found[2]}.{part}"
    found = re.fullmatch(r"classifier\.0\.(weight|bias)", name)
    return f"head.norm.{found[1]}" if found else None


# Parts of a block by their place: convolution, then its norm. The first stage does not widen its input.
_FIRST_STAGE = {"0.0": "conv_dw", "0.1": "bn1", "1.fc1": "se.conv_reduce", "1.fc2": "se.conv_expand", "2.0": "conv_pw",
                "2.1": "bn2"}  # fmt: skip
_LATER_STAGES = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2.fc1": "se.conv_reduce",
                 "2.fc2": "se.conv_expand", "3.0": "conv_pwl", "3.1": "bn3"}  # fmt: skip
_ENDS = {"0.0": "conv_stem", "0.1": "bn1", "8.0": "conv_head", "8.1": "bn2"}


def _torchvision_efficientnet(name: str) -> str | None:
    if found := re.fullmatch(r"features\.([08]\.[01])\.(\w+)", name):
        return f"{_ENDS[found[1]]}.{found[2]}"
    found = re.fullmatch(r"features\.([1-7])\.(\d+)\.block\.(\d\.\w+)\.(\w+)", name)
    if not found:
        return None
    part = (_FIRST_STAGE if found[1] == "1" else _LATER_STAGES).get(found[3])
    return f"blocks.{int(found[1]) - 1}.{found[2]}.{part}.{found[4]}" if part else None


def _as_torchvision_pads(name: str) -> Mapping[str, Argument]:
    """Pad and normalise as torchvision's EfficientNets do; timm's ``tf_`` ones follow TensorFlow."""
    large = re.search(r"efficientnet_b[5-7]", name)
    return {"pad_type": "", "bn_eps": 1e-3 if large else 1e-5}


_VIT_PARTS = {"ln_1": "norm1", "ln_2": "norm2", "mlp.0": "mlp.fc1",
              "mlp.3": "mlp.fc2", "mlp.linear_1": "mlp.fc1", "mlp.linear_2": "mlp.fc2",
              "self_attention.out_proj": "attn.proj"}  # fmt: skip
_VIT_ENDS = {"class_token": "cls_token", "encoder.pos_embedding": "pos_embed"}


def _torchvision_vit(name: str) -> str | None:
    if name in _VIT_ENDS:
        return _VIT_ENDS[name]
    if found := re.fullmatch(r"(conv_proj|encoder\.ln)\.(weight|bias)", name):
        return f"{'norm' if found[1] == 'encoder.ln' else 'patch_embed.proj'}.{found[2]}"
    found = re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.(.+?)[._](weight|bias)", name)
    if not found:
        return None
    part = "attn.qkv" if found[2].endswith("in_proj") else _VIT_PARTS.get(found[2])
    return f"blocks.{found[1]}.{part}.{found[3]}" if part else None


SAME = Layout("names as timm's", _same)
LAYOUTS = (
    SAME,
    Layout("chunks of blocks joined (FSDP)", _fsdp_chunks),
    Layout("numbered children of torchvision's ResNet", _resnet_children),
    Layout("torchvision's ConvNeXt", _torchvision_convnext, torchvision=True),
    Layout("torchvision's EfficientNet", _torchvision_efficientnet, torchvision=True, arguments=_as_torchvision_pads),
    Layout("torchvision's ViT", _torchvision_vit, torchvision=True),
)
