"""Where a model looks: methods by name, each a call of Captum on all pictures of a patient at once."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, IntegratedGradients, LayerGradCam, Occlusion
from torch import Tensor, nn

from fusion_ln.errors import SettingsError
from fusion_ln.explain.network import Case, Explained
from fusion_ln.models.fusion import Block, CrossAttention, HeadMean
from fusion_ln.progress import say

FIRST_STEPS, MOST_STEPS = 32, 1024  # of the integral
COMPLETE = 0.01  # error of the integral that is good enough, as a share of what it has to explain
WINDOWS = 8  # Occlusion covers a window of so many to a side
AT_ONCE = 32  # versions of a patient that are computed together, where memory allows

Maps = list[Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Attribution:
    """How much each pixel speaks for a class.

    Attributes:
        maps: Of each modality, zero for a picture that is not there. float32, each of shape (V, S, S).
        error: Of Integrated Gradients: how far the sum of the maps is from the change of the logit that they explain,
            as a share of it.
    """

    maps: Maps
    error: float = math.nan


def grad_cam(explained: Explained, case: Case) -> Attribution:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2).

    The planes of the last stage, each weighed by its mean gradient; of their sum what speaks for the class, brought
    to the size of the picture.
    """
    maps = _blank(case)
    layers = {m: explained.planes(explained.modalities[m]) for m in case.modalities}
    with torch.no_grad():
        seen = explained.see(case)
    for m, layer in layers.items():

        def logits(views: Tensor, m: int = m) -> Tensor:
            return explained.fuse(case, seen, m, views)

        cam = LayerGradCam(logits, layer).attribute(case.pictures[m], case.target, relu_attributions=True)
        assert isinstance(cam, Tensor)  # one row per picture that is there
        full = F.interpolate(cam, size=case.pictures[m].shape[-2:], mode="bilinear")
        maps[m][case.present[0, m]] = full[:, 0].detach()
    return Attribution(maps)


def guided_grad_cam(explained: Explained, case: Case) -> Attribution:
    """Guided Grad-CAM (Selvaraju et al. 2017, section 3.3): Grad-CAM times guided backpropagation.

    Raises:
        SettingsError: If the network has no ReLU, whose gradients could be guided.
    """
    for m in case.modalities:
        if not any(isinstance(module, nn.ReLU) for module in explained.backbone(explained.modalities[m]).modules()):
            raise SettingsError(
                f"{explained.modalities[m]}: guided Grad-CAM guides the gradients of ReLUs, and the network has none.",
                "Take `--method gradcam`, `ig` or `occlusion`.",
            )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="captum")  # that it sets hooks, which it takes off again
        explained.requires_grad_()  # its hooks need gradients also where a black picture stands for an absent one
        guided = GuidedBackprop(explained).attribute(case.pictures, case.target, additional_forward_args=case.more)
        explained.requires_grad_(False)
    cams = grad_cam(explained, case).maps
    return Attribution([(g[0] * cam[:, None]).sum(1).detach() for g, cam in zip(guided, cams, strict=True)])


def integrated_gradients(
    explained: Explained, case: Case, *, first_steps: int = FIRST_STEPS, most_steps: int = MOST_STEPS
) -> Attribution:
    """Integrated Gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1) from black pictures.

    The steps are doubled, from ``first_steps`` to ``most_steps``, until the maps add up to the change of the logit,
    within 1 % of it (completeness).
    """
    method = IntegratedGradients(explained)
    with torch.no_grad():
        ends = [explained(*pictures, *case.more)[0, case.target] for pictures in (case.pictures, _black(case))]
    whole = abs(float(ends[0] - ends[1]))
    steps, error, parts = first_steps, math.inf, tuple(_black(case))
    while error > COMPLETE and steps <= most_steps:

        def integrate(at_once: int, n_steps: int = steps) -> tuple[tuple[Tensor, ...], Tensor]:
            found: tuple[tuple[Tensor, ...], Tensor] = method.attribute(
                case.pictures,
                baselines=_black(case),
                target=case.target,
                additional_forward_args=case.more,
                n_steps=n_steps,
                internal_batch_size=at_once,
                return_convergence_delta=True,
            )
            return found

        parts, delta = within_memory(integrate)
        error = abs(float(delta)) / max(whole, 1e-6)
        steps *= 2
    return Attribution([part[0].sum(1).detach().float() for part in parts], error)


def occlusion(explained: Explained, case: Case, *, overlap: int = 2) -> Attribution:
    """Occlusion (Zeiler & Fergus 2014, arXiv 1311.2901).

    How far the logit falls while a square of the picture is black, averaged over the squares that cover a pixel; a
    square is moved by its side over ``overlap``.
    """
    maps = _blank(case)
    with torch.no_grad():
        seen = explained.see(case)
        for m in case.modalities:
            side = max(2, round(case.pictures[m].shape[-1] / WINDOWS))

            def logits(views: Tensor, m: int = m) -> Tensor:
                return explained.fuse(case, seen, m, views)

            def occlude(at_once: int, m: int = m, side: int = side, logits: Any = logits) -> Tensor:
                found: Tensor = Occlusion(logits).attribute(
                    case.pictures[m],
                    sliding_window_shapes=(1, 3, side, side),
                    strides=(1, 3, side // overlap, side // overlap),
                    baselines=0,
                    target=case.target,
                    perturbations_per_eval=at_once,
                )
                return found

            maps[m] = within_memory(occlude)[0].mean(1)  # the same in all channels
            maps[m][~case.present[0, m]] = 0
    return Attribution(maps)


def attention(explained: Explained, case: Case) -> Attribution:
    """Attention of the cross-attention head: the share that each token gets, over all heads and blocks.

    It is the same for every class.

    Raises:
        SettingsError: If the model has no such head.
    """
    blocks = _attending_blocks(explained)
    if not blocks:
        raise SettingsError(
            "attention maps: only a run of the head `cross-attention` has them.",
            "Take another method, or train one with `fusionln run fusion --head cross-attention`.",
        )
    weights: list[Tensor] = []

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True}

    def keep(module: nn.Module, args: Any, out: tuple[Tensor, Tensor]) -> None:
        weights.append(out[1][0, 0])  # (S,): every token of every picture, then the clinical one; mean over the heads

    hooks = []
    for block in blocks:
        hooks += [
            block.attention.register_forward_pre_hook(ask, with_kwargs=True),
            block.attention.register_forward_hook(keep),
        ]
    try:
        with torch.no_grad():
            seen = explained.see(case)
            explained.model.fuse(seen, *case.more)
    finally:
        for hook in hooks:
            hook.remove()
    _, n_modalities, n_views = case.present.shape
    n_tokens = seen[0][0].shape[2]
    shares = torch.stack(weights).mean(0)[: n_modalities * n_views * n_tokens].view(n_modalities, n_views, n_tokens)
    grid = math.isqrt(shares.shape[-1])
    planes = shares.view(n_modalities, n_views, grid, grid)
    sides = [picture.shape[-1] for picture in case.pictures]
    return Attribution(
        [F.interpolate(p[:, None], size=(s, s), mode="bilinear")[:, 0] for p, s in zip(planes, sides, strict=True)]
    )


Explain = Callable[[Explained, Case], Attribution]


@dataclass(frozen=True)
class Method:
    """A way to explain, with the words that a reader needs.

    Attributes:
        title: Its name.
        says: What its maps mean, in one sentence.
        attribute: What computes it.
        quick: The same with less exactness where that is dear: tests repeat it many times.
    """

    title: str
    says: str
    attribute: Explain
    quick: Explain


METHODS = {
    "gradcam": Method(
        "Grad-CAM",
        "Which places of the network’s last stage speak for the class; coarse, and quick.",
        grad_cam,
        grad_cam,
    ),
    "guided-gradcam": Method(
        "Guided Grad-CAM",
        "Grad-CAM refined to edges by guided backpropagation; sharp, but known to follow edges whatever the "
        "network learnt.",
        guided_grad_cam,
        guided_grad_cam,
    ),
    "ig": Method(
        "Integrated Gradients",
        "How much each pixel adds to the logit on the way from a black picture; the pixels add up to the whole.",
        integrated_gradients,
        partial(integrated_gradients, first_steps=16, most_steps=16),
    ),
    "occlusion": Method(
        "Occlusion",
        "How far the logit falls when a square of the picture is painted black; slow, and needs no gradients.",
        occlusion,
        partial(occlusion, overlap=1),
    ),
    "attention": Method(
        "Attention",
        "How the cross-attention head shares its attention over the tokens; the same for every class.",
        attention,
        attention,
    ),
}


def fitting_methods(explained: Explained) -> list[str]:
    """The methods that these networks allow."""
    fits = ["ig", "occlusion"]
    try:
        for modality in explained.modalities:
            explained.planes(modality)
        fits.append("gradcam")
    except SettingsError:
        pass
    networks = [explained.backbone(modality) for modality in explained.modalities]
    if "gradcam" in fits and all(any(isinstance(m, nn.ReLU) for m in network.modules()) for network in networks):
        fits.append("guided-gradcam")
    if _attending_blocks(explained):
        fits.append("attention")
    return [name for name in METHODS if name in fits]


def _attending_blocks(explained: Explained) -> list[Block]:
    """The blocks in which the queries of cross-attention heads look at the tokens; none of other models."""
    fusion = explained.model.fusion
    fuses = [head.fuse for head in fusion.heads] if isinstance(fusion, HeadMean) else []
    return [
        block for fuse in fuses if isinstance(fuse, CrossAttention) for block in fuse.blocks if isinstance(block, Block)
    ]


def within_memory(compute: Callable[[int], T]) -> T:
    """Compute with so many versions at once; where memory runs out, with half as many, and say so.

    Raises:
        SettingsError: If a single one does not fit.
    """
    at_once = AT_ONCE
    while True:
        try:
            return compute(at_once)
        except RuntimeError as error:  # torch.OutOfMemoryError is one; on a CPU it has no name of its own
            if not any(word in str(error) for word in ("out of memory", "can't allocate memory", "not enough memory")):
                raise
        if at_once == 1:
            raise SettingsError(
                "The memory does not hold one picture on its way through the network and back.",
                "Take `--method gradcam`, which keeps only the last stage, or a machine with more memory.",
            )
        at_once //= 2
        say(f"Out of memory: going on with {at_once} versions of a picture at once.")


def _blank(case: Case) -> Maps:
    return [torch.zeros_like(picture[0, :, 0]) for picture in case.pictures]


def _black(case: Case) -> tuple[Tensor, ...]:
    return tuple(torch.zeros_like(picture) for picture in case.pictures)
