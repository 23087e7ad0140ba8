"""Attribution methods by name, with the title and the sentence that a reader needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from fusion_ln.errors import SettingsError
from fusion_ln.explain.attribution import (
    Attribution,
    Maps,
    attending_blocks,
    attention,
    grad_cam,
    guided_grad_cam,
)
from fusion_ln.explain.integrated import integrated_gradients, quick_integrated_gradients
from fusion_ln.explain.network import Case, Explained
from fusion_ln.explain.occlusion import occlusion, occlusion_with_copies, quick_occlusion

AttributionFunction = Callable[[Explained, Case], Attribution]
CopiesFunction = Callable[[Explained, Case, Sequence[Explained]], tuple[Attribution, list[Maps]]]
QuickFunction = Callable[[Explained, Sequence[Case]], list[Maps]]  # maps of each of some versions of a patient


@dataclass(frozen=True)
class AttributionMethod:
    """An attribution method, described for a reader.

    Attributes:
        title: Name.
        description: Meaning of its maps, in one sentence.
        attribute: Function that computes the maps.
        quick: Less exact version of it where exactness is expensive, for the metrics that repeat it many times.
        copied: Function of a model, a case and copies of the model that computes the maps and the copies' quick ones
            from the same passes.
    """

    title: str
    description: str
    attribute: AttributionFunction
    quick: QuickFunction
    copied: CopiesFunction | None = None

    def with_quick(
        self, explained: Explained, case: Case, copies: Sequence[Explained] = ()
    ) -> tuple[Attribution, Maps, list[Maps]]:
        """Compute the maps, the quick ones, and the quick ones of copies of the model; what they share, once."""
        if self.copied:
            exact, others = self.copied(explained, case, copies)
        else:
            exact, others = self.attribute(explained, case), [self.quick(each, [case])[0] for each in copies]
        return exact, self.quick(explained, [case])[0] if exact.quick is None else exact.quick, others


def _exactly(quick: QuickFunction) -> AttributionFunction:
    """Make the exact version of a method of which the quick one is exact."""

    def attribute(explained: Explained, case: Case) -> Attribution:
        [maps] = quick(explained, [case])
        return Attribution(maps, quick=maps)

    return attribute


METHODS: dict[str, AttributionMethod] = {
    "gradcam": AttributionMethod(
        "Grad-CAM",
        "Places of the network’s last stage that speak for the class; coarse, and quick.",
        _exactly(grad_cam),
        grad_cam,
    ),
    "guided-gradcam": AttributionMethod(
        "Guided Grad-CAM",
        "Grad-CAM refined to edges by guided backpropagation; sharp, but known to follow edges whatever the "
        "network learnt.",
        _exactly(guided_grad_cam),
        guided_grad_cam,
    ),
    "ig": AttributionMethod(
        "Integrated Gradients",
        "Share of each pixel in the change of the logit from a black picture to this one; the shares add up to it.",
        integrated_gradients,
        quick_integrated_gradients,
    ),
    "occlusion": AttributionMethod(
        "Occlusion",
        "Fall of the logit while a square of the picture is black; slow, and needs no gradients.",
        occlusion,
        quick_occlusion,
        occlusion_with_copies,
    ),
    "attention": AttributionMethod(
        "Attention",
        "Share of the cross-attention head’s attention that each token receives; the same for every class.",
        _exactly(attention),
        attention,
    ),
}


def fitting_methods(explained: Explained) -> list[str]:
    """List the methods that the networks of a model allow."""
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
    if attending_blocks(explained):
        fits.append("attention")
    return [name for name in METHODS if name in fits]
