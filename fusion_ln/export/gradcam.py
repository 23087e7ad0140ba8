"""Grad-CAM as ordinary operators: the gradient from a fused logit back to the last stage is traced beforehand."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from fusion_ln.errors import SettingsError
from fusion_ln.explain.network import Explained, last_stage
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.fusion.base import HeadEnsemble
from fusion_ln.models.fusion.concat import Concatenation
from fusion_ln.models.fusion.gated import Gated
from fusion_ln.models.fusion.lowrank import LowRank
from fusion_ln.models.triplet import TripletModel, module_key

aten = torch.ops.aten

BACKWARD = [  # steps that ONNX lacks, as sums and products
    aten.threshold_backward,
    aten.gelu_backward,
    aten.silu_backward,
    aten.sigmoid_backward,
    aten.tanh_backward,
    aten._softmax_backward_data,
    aten.native_layer_norm_backward,
    aten.native_batch_norm_backward,
    aten.select_backward,
    aten.slice_backward,
    aten.detach,
]
LAST = 2**31  # a range that ends beyond it ends with the axis
DISTINCT_SIZE = 97  # a size that nothing else has: the tracer takes equal sizes for one and the same


def _scatter(x: Tensor, source: Tensor, axis: int, index: int) -> Tensor:
    """Put a slice at an index of an axis."""
    here = torch.arange(x.shape[axis]) == index
    return torch.where(here.view(-1, *[1] * (x.ndim - 1 - axis)), source.unsqueeze(axis), x)


def _put(x: Tensor, source: Tensor, axis: int = 0, start: int | None = None, end: int | None = None) -> Tensor:
    """Put a range at its place along an axis."""
    before, after = ((slice(None),) * axis + (part,) for part in (slice(0, start or 0), slice(end, None)))
    parts = [*([x[before]] if start else []), source, *([] if end is None or end > LAST else [x[after]])]
    return torch.cat(parts, axis)


# The tracer of TorchScript follows sizes through these alone, and ONNX lacks the others' inner names.
PLAIN: dict[object, Callable[..., object]] = {
    aten.sym_size.int: lambda x, axis: x.shape[axis],
    aten._to_copy.default: lambda x, *, dtype=None, **_: x.to(dtype),
    aten.view.default: lambda x, size: x.reshape(size),
    aten._unsafe_view.default: lambda x, size: x.reshape(size),
    aten.expand.default: lambda x, size, **_: x.expand(size),
    aten.zeros.default: lambda size, *, dtype=None, **_: torch.zeros(size, dtype=dtype),
    aten.new_zeros.default: lambda x, size, **_: torch.zeros(size, dtype=x.dtype),
    aten.new_ones.default: lambda x, size, **_: torch.ones(size, dtype=x.dtype),
    aten.lift_fresh_copy.default: lambda x: x,
    aten.select_scatter.default: _scatter,
    aten.slice_scatter.default: _put,
    aten.full.default: lambda size, value, *, dtype=None, **_: torch.zeros(size, dtype=dtype) + value,
    aten.full_like.default: lambda x, value, **_: torch.zeros_like(x) + value,
    aten.fill.Scalar: lambda x, value: torch.zeros_like(x) + value,
    aten.div.Scalar: lambda x, value: x / value,
    aten.mul.Scalar: lambda x, value: x * value,
    aten._softmax.default: lambda x, axis, _: x.softmax(axis),
    aten._native_batch_norm_legit_no_training.default: lambda x, w, b, mean, var, _, eps: (
        nn.functional.batch_norm(x, mean, var, w, b, eps=eps),
    ),
}


class Encode(Protocol):
    """The encoding of a modality's pictures: tokens, logits and features."""

    def __call__(self, model: TripletModel, modality: str, squares: Tensor, mask: Tensor) -> tuple[Tensor, ...]: ...


class GradCam(nn.Module):
    """Grad-CAM of a fold's model, see `explain.attribution.grad_cam`, from the planes of its last stages."""

    def __init__(self, model: TripletModel, encode: Encode, n_classes: int) -> None:
        super().__init__()
        self.layers = dict(zip(model.sides, _last_stages(model), strict=True))
        self.gradient = trace_gradient(model, encode, n_classes)

    @contextmanager
    def recording(self) -> Iterator[list[Tensor]]:
        """Keep the planes (B, D, h, w) of each modality's last stage, in the order of the calls."""
        planes: list[Tensor] = []
        with ExitStack() as stack:
            for layer in self.layers.values():
                hook = layer.register_forward_hook(lambda module, inputs, out: planes.append(out))
                stack.callback(hook.remove)
            yield planes

    def forward(self, planes: Sequence[Tensor], present: Tensor, target: Tensor) -> list[Tensor]:
        """Compute the maps (B, h, w) of each modality for the class that ``target`` (B, C) marks by 1."""
        gradients = self.gradient(present, target, *planes)
        pairs = zip(planes, gradients, strict=True)
        return [(each * of.mean((2, 3), keepdim=True)).sum(1).relu() for each, of in pairs]


def fits(model: TripletModel) -> bool:
    """Test whether the Grad-CAM of a model is made of ordinary operators: CNNs under late fusion or an MLP head."""
    fuses = [head.fuse for head in model.fusion.heads] if isinstance(model.fusion, HeadEnsemble) else []
    if len(model.sources) or not all(isinstance(fuse, Concatenation | Gated | LowRank) for fuse in fuses):
        return False
    return all(gives_planes(model, modality) for modality in model.sides)


def gives_planes(model: TripletModel, modality: str) -> bool:
    """Test whether the last stage of a modality's network gives the planes that Grad-CAM weights: that of a CNN."""
    explained = Explained(model)
    try:
        explained.planes(modality)
    except SettingsError:
        return False
    body = explained.backbone(modality).body
    return not (hasattr(body, "num_prefix_tokens") or hasattr(body, "output_fmt"))


def trace_gradient(model: TripletModel, encode: Encode, n_classes: int) -> GraphModule:
    """Trace the gradient of marked logits with respect to the planes of each modality's last stage.

    Returns:
        A module of presence mask (B, M), marks (B, C) and planes, for any B.

    Raises:
        SettingsError: If more than points of the planes is mixed after the last stage.
    """
    model = Explained(model).model
    layers, sides = _last_stages(model), list(model.sides.items())

    def score(present: Tensor, target: Tensor, planes: Sequence[Tensor]) -> Tensor:
        with ExitStack() as stack:
            for layer, given in zip(layers, planes, strict=True):
                hook = layer.register_forward_hook(lambda module, inputs, out, given=given: given)
                stack.callback(hook.remove)
            blank = [torch.zeros(present.shape[0], 3, side, side) for _, side in sides]
            parts = [encode(model, m, blank[i], present[:, i]) for i, (m, _) in enumerate(sides)]
        logits = model.fuse([(tokens, logits) for tokens, logits, _ in parts], present[..., None])
        return (logits * target).sum()

    def gradient(present: Tensor, target: Tensor, *planes: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.func.grad(
            lambda *each: score(present, target, each), tuple(range(len(sides)))
        )(*planes)
        return found

    present = torch.ones(DISTINCT_SIZE, len(sides), dtype=torch.bool)
    target = torch.ones(DISTINCT_SIZE, n_classes)
    shapes: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, out: Tensor) -> None:
        shapes.append(out.new_zeros(DISTINCT_SIZE, *out.shape[1:]))

    with torch.no_grad(), ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(keep).remove)
        for i, (modality, side) in enumerate(sides):
            encode(model, modality, torch.zeros(1, 3, side, side), present[:1, i])
    table: dict[Any, Callable[..., Any]] = {
        **get_decompositions(BACKWARD),
        aten.convolution_backward.default: _pointwise_backward,
    }
    traced = make_fx(torch.func.functionalize(gradient), table, tracing_mode="symbolic", _allow_non_fake_inputs=True)(
        present, target, *shapes
    )
    # Everything up to the last stage is dead: its output was replaced.
    traced.graph.eliminate_dead_code(is_impure_node=_is_bound)
    for node in traced.graph.nodes:
        node.target = PLAIN.get(node.target, node.target)
    traced.recompile()
    return traced


def _is_bound(node: Node) -> bool:
    return node.op in {"placeholder", "output"}


def _last_stages(model: TripletModel) -> list[nn.Module]:
    found = []
    for modality in model.sides:
        member = model.members[module_key(modality)]
        assert isinstance(member, Classifier)
        body: nn.Module = member.backbone.body
        found.append(body.get_submodule(last_stage(body)))
    return found


def _pointwise_backward(
    gradient: Tensor, x: Tensor, weights: Tensor, *_: object
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Pass a gradient back through a convolution of one pixel, the only one that follows a last stage."""
    if tuple(weights.shape[2:]) != (1, 1):
        raise SettingsError("A convolution of several pixels follows the last stage.", "Leave out the maps.")
    return torch.einsum("bohw,oi->bihw", gradient, weights[:, :, 0, 0]), None, None
