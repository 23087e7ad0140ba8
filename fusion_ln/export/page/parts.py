"""A frozen model in the parts that a browser runs: the body of each network, and one tail for all of them.

A body turns a picture into its feature maps, which is nearly all of the work; the tail answers from the maps of all
modalities. So the answers from every subset of the modalities, and the differences that Grad-CAM needs, cost the tail
alone. Large weights are stored in half precision and computed with in float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fusion_ln.errors import ModelError, SettingsError
from fusion_ln.explain.network import Explained
from fusion_ln.export.graph import AnswerGraph, read_maps
from fusion_ln.export.onnx_file import PRESENT, TRACED_PATIENTS, attach_weights, trace_module
from fusion_ln.export.trunks import TrunkBody
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.models.triplet import TripletModel

OUTPUTS = ("probabilities", "p_values", "alone", "unlike", "logits")


@dataclass(frozen=True)
class PageParts:
    """ONNX files of a model.

    Attributes:
        bodies: By file name, a body for each modality and fold model, see `body_name`.
        tail: Reads the bodies' maps, each under its body's name, and `PRESENT`.
        shapes: By body, of the maps of one picture.
        has_planes: Whether all maps are the planes that Grad-CAM weights; else the model is explained by occlusion.
    """

    bodies: Mapping[str, bytes]
    tail: bytes
    shapes: Mapping[str, Sequence[int]]
    has_planes: bool

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.bodies.values())) + len(self.tail)


def body_name(modality: int, fold: int) -> str:
    """Name the body of the modality at a place, in the fold model at a place."""
    return f"body-{modality}-{fold}"


class Body(TrunkBody):
    """From prepared pictures, uint8 (B, S, S, 3), to the feature maps of a network."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute the maps, in the network's own layout."""
        return super().forward(pictures.permute(0, 3, 1, 2).float() / 255)


class Tail(AnswerGraph):
    """From the feature maps of all modalities and fold models to the answer, see `OUTPUTS`.

    ``logits`` are those of each fold model, (B, K, C); the other outputs are those of `AnswerGraph`.
    """

    def forward(self, maps: Sequence[Tensor], present: Tensor) -> tuple[Tensor, ...]:
        """Answer for B patients from maps in the order of `PageParts.bodies`, and the presence mask (B, M)."""
        masks, left, encoded = present.unbind(1), iter(maps), []
        for model in self.models:
            assert isinstance(model, TripletModel)
            encoded.append([read_maps(model, m, next(left), mask) for m, mask in zip(self.sides, masks, strict=True)])
        probabilities, p_values, _, alone, unlike, logits = self.join(encoded, present)
        return probabilities, p_values, alone, unlike, logits


def split_model(model: FrozenModel) -> PageParts:
    """Write the parts of a model.

    Raises:
        ModelError: If it needs more than pictures, or its networks cannot be written as ONNX.
    """
    _refuse_more_than_pictures(model)
    modalities = list(model.record.modalities)
    bodies, maps = {}, []
    for k, one in enumerate(model.models):
        for m, modality in enumerate(modalities):
            side = one.sides[modality]
            body = Body(one, modality).eval()
            pictures = torch.zeros(TRACED_PATIENTS, side, side, 3, dtype=torch.uint8)
            with torch.no_grad():
                maps.append(body(pictures))
            bodies[body_name(m, k)] = _write(body, (pictures,), ["pictures"], ["maps"])
    present = torch.ones(TRACED_PATIENTS, len(modalities), dtype=torch.bool)
    tail = _write(Tail(model).eval(), (maps, present), [*bodies, PRESENT], OUTPUTS)
    shapes = {name: list(each.shape[1:]) for name, each in zip(bodies, maps, strict=True)}
    return PageParts(bodies, tail, shapes, all(_has_planes(model.models[0], m) for m in modalities))


def _refuse_more_than_pictures(model: FrozenModel) -> None:
    serve = "Serve it instead: `fusionln serve MODEL`."
    if model.clinical:
        raise ModelError(f"{model.root}: also takes {', '.join(model.clinical)}; a page asks for pictures only.", serve)
    if any(len(one.sources) for one in model.models):
        raise ModelError(
            f"{model.root}: its head reads tokens of other networks, so a page would hold two each.", serve
        )


def _has_planes(model: TripletModel, modality: str) -> bool:
    """Test whether the maps of a network are the planes that Grad-CAM weights, channels first."""
    explained = Explained(model)
    try:
        layer = explained.planes(modality)
    except SettingsError:
        return False
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, out: found.append(out))
    side = model.sides[modality]
    with torch.no_grad():
        maps = explained.backbone(modality).feature_map(torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side))
    hook.remove()
    return bool(found) and found[0].shape == maps.shape and torch.equal(found[0], maps)


def _write(module: nn.Module, inputs: tuple[object, ...], names: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Write a module as ONNX for batches of any size, its weights in half precision."""
    proto = trace_module(module, inputs, names, outputs, {name: {0: "batch"} for name in (*names, *outputs)})
    attach_weights(proto, module, Path(), half=True)
    return bytes(proto.SerializeToString())
