"""Attribution maps of a patient, and those that one pass of all pictures gives: Grad-CAM and attention."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import Tensor, nn

from fusion_ln.errors import SettingsError
from fusion_ln.explain.hooks import outputs_of
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.network import Case, Explained, stacked
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


def grad_cam(explained: Explained, cases: Sequence[Case]) -> list[Maps]:
    """Compute Grad-CAM maps (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2) of versions of a patient.

    The feature planes of the last stage are weighted by their mean gradients and summed; the positive part of the sum
    is resized to the picture.
    """
    first = cases[0]
    layers = [explained.planes(explained.modalities[m]) for m in first.modalities]
    with outputs_of(layers) as planes, torch.enable_grad():
        logits = explained.versions(first, stacked(cases))[:, first.target].sum()
    gradients = torch.autograd.grad(logits, planes, allow_unused=True, materialize_grads=True)
    found = [blank_maps(case) for case in cases]
    for m, plane, gradient in zip(first.modalities, planes, gradients, strict=True):  # one row per present picture
        cam = (gradient.mean((2, 3), keepdim=True) * plane.detach()).sum(1, keepdim=True).relu()
        full = F.interpolate(cam, size=first.pictures[m].shape[-2:], mode="bilinear")
        for maps, views in zip(found, full[:, 0].chunk(len(cases)), strict=True):
            maps[m][first.present[0, m]] = views
    return found


def guided_grad_cam(explained: Explained, cases: Sequence[Case]) -> list[Maps]:
    """Compute guided Grad-CAM maps (Selvaraju et al. 2017, section 3.3): Grad-CAM times guided backpropagation.

    Raises:
        SettingsError: If the network has no ReLU.
    """
    for m in cases[0].modalities:
        if not any(isinstance(module, nn.ReLU) for module in explained.backbone(explained.modalities[m]).modules()):
            raise SettingsError(
                f"{explained.modalities[m]}: guided Grad-CAM needs ReLU activations, and the network has none.",
                "Choose `--method gradcam`, `ig` or `occlusion`.",
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="captum")  # a notice of hooks, which captum removes again
        explained.requires_grad_()  # its hooks need gradients also for the black picture of an absent modality
        guided = within_memory(partial(_guided, explained, cases), cases[0])
        explained.requires_grad_(False)
    return [
        [(g * cam[:, None]).sum(1).detach() for g, cam in zip(gradients, cams, strict=True)]
        for gradients, cams in zip(zip(*guided, strict=True), grad_cam(explained, cases), strict=True)
    ]


def _guided(explained: Explained, cases: Sequence[Case], at_once: int) -> list[Tensor]:
    """Compute the gradients of guided backpropagation for versions of a patient, by modality (B, V, 3, S, S)."""
    first, parts = cases[0], []
    for part in zip(*(torch.split(pictures, at_once) for pictures in stacked(cases)), strict=True):
        more = first.repeated(len(part[0]))
        parts.append(GuidedBackprop(explained).attribute(part, first.target, additional_forward_args=more))
    return [torch.cat(each) for each in zip(*parts, strict=True)]


def attention(explained: Explained, cases: Sequence[Case]) -> list[Maps]:
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
    return [_attention(explained, case, blocks) for case in cases]


def _attention(explained: Explained, case: Case, blocks: list[TransformerBlock]) -> Maps:
    with _attention_weights(blocks) as weights, torch.no_grad():
        encoded = explained.encode(case)
        explained.model.fuse(encoded, *case.more)
    _, n_modalities, n_views = case.present.shape
    n_tokens = encoded[0][0].shape[2]
    shares = torch.stack(weights).mean(0)[: n_modalities * n_views * n_tokens].view(n_modalities, n_views, n_tokens)
    grid = math.isqrt(shares.shape[-1])
    planes = shares.view(n_modalities, n_views, grid, grid)
    sides = [picture.shape[-1] for picture in case.pictures]
    return [F.interpolate(p[:, None], size=(s, s), mode="bilinear")[:, 0] for p, s in zip(planes, sides, strict=True)]


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
