"""Attribution maps of a patient, and those that one pass of all pictures gives: Grad-CAM and attention."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_ln.errors import SettingsError
from fusion_ln.explain.network import Case, Explained, outputs_of
from fusion_ln.models.fusion.base import HeadEnsemble
from fusion_ln.models.fusion.cross_attention import CrossAttention
from fusion_ln.models.fusion.layers import TransformerBlock

Maps = list[Tensor]


@dataclass(frozen=True)
class Attribution:
    """Attribution maps of one patient: the evidence of each pixel for a class.

    Attributes:
        maps: One per modality, zero for an absent picture. float32, each of shape (V, S, S).
        error: Completeness error of Integrated Gradients: the difference between the sum of the maps and the change
            of the logit, as a share of that change; NaN for other methods.
        quick: Maps of the method's quick version, where they fall out of the same passes.
    """

    maps: Maps
    error: float = math.nan
    quick: Maps | None = None


def grad_cam(explained: Explained, case: Case) -> Attribution:
    """Compute Grad-CAM maps (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2).

    The feature planes of the last stage are weighted by their mean gradients and summed; the positive part of the sum
    is resized to the picture.
    """
    with outputs_of(_last_stages(explained, case)) as planes, torch.enable_grad():
        logit = explained.model(case.pictures, *case.more)[0, case.target]
    return Attribution(_weighted_planes(case, planes, _gradients(logit, planes)))


def _last_stages(explained: Explained, case: Case) -> list[nn.Module]:
    return [explained.planes(explained.modalities[m]) for m in case.modalities]


def _gradients(logit: Tensor, inputs: Sequence[Tensor], *, again: bool = False) -> tuple[Tensor, ...]:
    """Compute the gradients of a logit, zero where it does not depend on the input; ``again``: others will follow."""
    return torch.autograd.grad(logit, inputs, retain_graph=again, allow_unused=True, materialize_grads=True)


def _weighted_planes(case: Case, planes: Sequence[Tensor], gradients: Sequence[Tensor]) -> Maps:
    """Weight the feature planes by their mean gradients, and resize the positive part of the sum to the pictures."""
    maps = blank_maps(case)
    for m, plane, gradient in zip(case.modalities, planes, gradients, strict=True):  # one row per present picture
        cam = (gradient.mean((2, 3), keepdim=True) * plane.detach()).sum(1, keepdim=True).relu()
        full = F.interpolate(cam, size=case.pictures[m].shape[-2:], mode="bilinear")
        maps[m][case.present[0, m]] = full[:, 0]
    return maps


def guided_grad_cam(explained: Explained, case: Case) -> Attribution:
    """Compute guided Grad-CAM maps (Selvaraju et al. 2017, section 3.3): Grad-CAM times guided backpropagation.

    Raises:
        SettingsError: If the network has no ReLU.
    """
    for m in case.modalities:
        if not any(isinstance(module, nn.ReLU) for module in explained.backbone(explained.modalities[m]).modules()):
            raise SettingsError(
                f"{explained.modalities[m]}: guided Grad-CAM needs ReLU activations, and the network has none.",
                "Choose `--method gradcam`, `ig` or `occlusion`.",
            )
    pictures = [picture.clone().requires_grad_() for picture in case.pictures]
    layers = _last_stages(explained, case)
    with _guided_backpropagation(explained) as guidance:
        with outputs_of(layers) as planes, torch.enable_grad():
            logit = explained.model(pictures, *case.more)[0, case.target]
        cams = _weighted_planes(case, planes, _gradients(logit, planes, again=True))
        guidance.on = True
        guided = _gradients(logit, pictures)
    return Attribution([(g[0] * cam[:, None]).sum(1) for g, cam in zip(guided, cams, strict=True)])


@dataclass
class _Guidance:
    """Switch of guided backpropagation."""

    on: bool = False


@contextmanager
def _guided_backpropagation(explained: Explained) -> Iterator[_Guidance]:
    """Prepare passes for guided backpropagation (Springenberg et al. 2015, arXiv 1412.6806), which begins switched off.

    Once it is on, each ReLU hands only the positive part of its gradient down.
    """
    guidance = _Guidance()

    def keep_positive(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> tuple[Tensor, ...] | None:
        return tuple(each.relu() for each in inputs) if guidance.on else None

    rectifiers = [module for module in explained.modules() if isinstance(module, nn.ReLU)]
    hooks = [module.register_full_backward_hook(keep_positive) for module in rectifiers]
    try:
        yield guidance
    finally:
        for hook in hooks:
            hook.remove()


def attention(explained: Explained, case: Case) -> Attribution:
    """Read attention maps of a cross-attention head: the share of each token, averaged over all heads and blocks.

    They are the same for every class.

    Raises:
        SettingsError: If the model has no cross-attention head.
    """
    blocks = attending_blocks(explained)
    if not blocks:
        raise SettingsError(
            "attention maps: only a run of the head `cross-attention` has them.",
            "Choose another method, or train such a run with `fusionln run fusion --head cross-attention`.",
        )
    with _attention_weights(blocks) as weights, torch.no_grad():
        encoded = explained.encode(case)
        explained.model.fuse(encoded, *case.more)
    _, n_modalities, n_views = case.present.shape
    n_tokens = encoded[0][0].shape[2]
    shares = torch.stack(weights).mean(0)[: n_modalities * n_views * n_tokens].view(n_modalities, n_views, n_tokens)
    grid = math.isqrt(shares.shape[-1])
    planes = shares.view(n_modalities, n_views, grid, grid)
    sides = [picture.shape[-1] for picture in case.pictures]
    return Attribution(
        [F.interpolate(p[:, None], size=(s, s), mode="bilinear")[:, 0] for p, s in zip(planes, sides, strict=True)]
    )


@contextmanager
def _attention_weights(blocks: list[TransformerBlock]) -> Iterator[list[Tensor]]:
    """Collect the attention weights of the first patient, one tensor (tokens,) per block, while the context is open.

    The tokens of all pictures come first, then the clinical one; weights are averaged over the heads.
    """
    weights: list[Tensor] = []

    def request(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True}

    def keep(module: nn.Module, args: Any, out: tuple[Tensor, Tensor]) -> None:
        weights.append(out[1][0, 0])

    hooks = [block.attention.register_forward_pre_hook(request, with_kwargs=True) for block in blocks]
    hooks += [block.attention.register_forward_hook(keep) for block in blocks]
    try:
        yield weights
    finally:
        for hook in hooks:
            hook.remove()


def attending_blocks(explained: Explained) -> list[TransformerBlock]:
    """List the blocks in which cross-attention queries attend to the tokens; empty for other models."""
    fusion = explained.model.fusion
    fuses = [head.fuse for head in fusion.heads] if isinstance(fusion, HeadEnsemble) else []
    return [
        block
        for fuse in fuses
        if isinstance(fuse, CrossAttention)
        for block in fuse.blocks
        if isinstance(block, TransformerBlock)
    ]


def blank_maps(case: Case) -> Maps:
    """Make a map of zeros per modality."""
    return [torch.zeros_like(picture[0, :, 0]) for picture in case.pictures]
