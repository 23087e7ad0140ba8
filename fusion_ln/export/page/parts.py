"""A frozen model in the parts that a browser runs: the body of each network, and one tail for all of them.

A body turns a picture into its maps, which is nearly all of the work; the tail answers from the maps of all modalities.
So the answers from every subset of the modalities cost the tail alone. The maps of a CNN are the planes of its last
stage, which Grad-CAM weights by their gradients, a part of its own: what follows them, as the last convolution of an
EfficientNet, belongs to the tail. Large weights are stored in half precision and computed with in float32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusion_ln.errors import ModelError
from fusion_ln.explain.network import last_stage
from fusion_ln.export.gradcam import GradCam, fits, gives_planes
from fusion_ln.export.graph import AnswerGraph, encode, read_maps
from fusion_ln.export.onnx_file import PRESENT, attach_weights
from fusion_ln.export.tracing import TRACED_PATIENTS, trace_module
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.models.triplet import TripletModel, module_key

TARGET = "target"  # input of the gradients
OUTPUTS = ("probabilities", "p_values", "alone", "unlike", "logits")


@dataclass(frozen=True)
class PageParts:
    """ONNX files of a model.

    Attributes:
        bodies: By file name, a body for each modality and fold model, see `body_name`.
        tail: Reads the bodies' maps, each under its body's name, and `PRESENT`.
        shapes: By body, of the maps of one picture.
        gradients: Computes the maps of Grad-CAM, `cam_name` each, from the same inputs and the class to explain, marked
            by 1 in `TARGET`; None where ordinary operators do not, see `fits`: then occlusion explains.
    """

    bodies: Mapping[str, bytes]
    tail: bytes
    shapes: Mapping[str, Sequence[int]]
    gradients: bytes | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    @property
    def files(self) -> dict[str, bytes]:
        """All files by name."""
        return {**self.bodies, "tail": self.tail} | ({"gradients": self.gradients} if self.gradients else {})


def body_name(modality: int, fold: int) -> str:
    """Name the body of the modality at a place, in the fold model at a place."""
    return f"body-{modality}-{fold}"


def cam_name(modality: int) -> str:
    """Name the map of the modality at a place."""
    return f"cam-{modality}"


class TrunkBody(nn.Module):
    """From pictures in [0, 1], (B, 3, S, S), to the feature maps of a network."""

    def __init__(self, model: TripletModel, modality: str) -> None:
        super().__init__()
        member: Any = model.members[module_key(modality)]
        self.backbone = member.backbone

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute the maps, in the network's own layout."""
        maps: Tensor = self.backbone.feature_map(pictures)
        return maps


class Body(TrunkBody):
    """From prepared pictures, uint8 (B, S, S, 3), to the maps of a network: planes of its last stage, or tokens."""

    def __init__(self, model: TripletModel, modality: str) -> None:
        super().__init__(model, modality)
        self.stage = _stage_of(model, modality)

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute the maps; without a stage of planes, in the network's own layout."""
        scaled = pictures.permute(0, 3, 1, 2).float() / 255
        if self.stage is None:
            return super().forward(scaled)
        found: list[Tensor] = []
        with _hooked(self.stage, found.append):
            super().forward(scaled)
        return found[0]


class Tail(AnswerGraph):
    """From the maps of all modalities and fold models to the answer, see `OUTPUTS`.

    ``logits`` are those of each fold model, (B, K, C); the other outputs are those of `AnswerGraph`.
    """

    def forward(self, maps: Sequence[Tensor], present: Tensor) -> tuple[Tensor, ...]:
        """Answer for B patients from maps in the order of `PageParts.bodies`, and the presence mask (B, M)."""
        masks, left, encoded = present.unbind(1), iter(maps), []
        for model in self.models:
            assert isinstance(model, TripletModel)
            own = [_finish(model, modality, next(left)) for modality in self.sides]
            encoded.append([read_maps(model, *each) for each in zip(self.sides, own, masks, strict=True)])
        probabilities, p_values, _, alone, unlike, logits = self.join(encoded, present)
        return probabilities, p_values, alone, unlike, logits


class Gradients(nn.Module):
    """From the maps of all modalities and fold models, which are planes, to Grad-CAM in the mean over the models."""

    def __init__(self, model: FrozenModel) -> None:
        super().__init__()
        self.cams = nn.ModuleList(GradCam(one, encode, len(model.record.classes)) for one in model.models)

    def forward(self, maps: Sequence[Tensor], present: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Compute the map (B, h, w) of each modality, see `GradCam`."""
        n = present.shape[1]
        found = [cam(maps[k * n : (k + 1) * n], present, target) for k, cam in enumerate(self.cams)]
        return tuple(torch.stack(of).mean(0) for of in zip(*found, strict=True))


def _stage_of(model: TripletModel, modality: str) -> nn.Module | None:
    """Find the last stage of a modality's network; None where its output is not planes."""
    if not gives_planes(model, modality):
        return None
    body: nn.Module = TrunkBody(model, modality).backbone.body
    return body.get_submodule(last_stage(body))


def _finish(model: TripletModel, modality: str, maps: Tensor) -> Tensor:
    """Compute the feature maps of a network from the maps of its body."""
    stage = _stage_of(model, modality)
    if stage is None:
        return maps
    side = model.sides[modality]
    with _hooked(stage, lambda out: maps):  # what comes before is dead: the tracer leaves it out
        finished: Tensor = TrunkBody(model, modality)(maps.new_zeros(maps.shape[0], 3, side, side))
    return finished


@contextmanager
def _hooked(layer: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Change the output of a layer, where ``change`` gives another, while the context is open."""
    hook = layer.register_forward_hook(lambda module, inputs, out: change(out))
    try:
        yield
    finally:
        hook.remove()


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
    gradients = None
    if fits(model.models[0]):
        target = torch.zeros(TRACED_PATIENTS, len(model.record.classes))
        names = [cam_name(m) for m in range(len(modalities))]
        gradients = _write(Gradients(model).eval(), (maps, present, target), [*bodies, PRESENT, TARGET], names)
    return PageParts(bodies, tail, shapes, gradients)


def _refuse_more_than_pictures(model: FrozenModel) -> None:
    serve = "Serve it instead: `fusionln serve MODEL`."
    if model.clinical:
        raise ModelError(f"{model.root}: also takes {', '.join(model.clinical)}; a page asks for pictures only.", serve)
    if any(len(one.sources) for one in model.models):
        raise ModelError(
            f"{model.root}: its head reads tokens of other networks, so a page would hold two each.", serve
        )


def _write(module: nn.Module, inputs: tuple[object, ...], names: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Write a module as ONNX for batches of any size, its weights in half precision."""
    proto = trace_module(module, inputs, names, outputs, {name: {0: "batch"} for name in (*names, *outputs)})
    attach_weights(proto, module, Path(), half=True)
    return bytes(proto.SerializeToString())
