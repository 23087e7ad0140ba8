"""Models with readable gradients: no activation in place, and the last stage as feature planes for Grad-CAM."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fusion_ln.errors import SettingsError
from fusion_ln.explain.local import FirstStage, LateTrunk, find_first_stage, find_late_trunk
from fusion_ln.models.backbones import Backbone, Trunk
from fusion_ln.models.triplet import TripletModel, module_key


@dataclass(frozen=True)
class Case:
    """Input of a model for one patient, with the class to explain.

    Attributes:
        pictures: One tensor per modality, in [0, 1]. Each of shape (1, V, 3, S, S).
        present: Presence mask. bool, shape (1, M, V).
        target: Class to explain.
        clinical: Standardised clinical columns (1, K), for a head that takes them.
    """

    pictures: tuple[Tensor, ...]
    present: Tensor
    target: int
    clinical: Tensor | None = None

    @property
    def more(self) -> tuple[Tensor, Tensor | None]:
        """Inputs of the model besides the pictures: presence mask and clinical columns."""
        return self.present, self.clinical

    def repeated(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return the same for ``n`` versions of the pictures."""
        return self.present.expand(n, -1, -1), None if self.clinical is None else self.clinical.expand(n, -1)

    @property
    def modalities(self) -> list[int]:
        """Positions of the present modalities."""
        return torch.nonzero(self.present[0].any(1)).flatten().tolist()

    def of(self, target: int) -> "Case":
        """Return the same patient with another class to explain."""
        return replace(self, target=target)

    def with_pictures(self, pictures: Sequence[Tensor]) -> "Case":
        """Return the same patient with other pixels."""
        return replace(self, pictures=tuple(pictures))


def stacked(cases: Sequence[Case]) -> list[Tensor]:
    """Stack the pictures of versions of a patient, by modality (B, V, 3, S, S)."""
    return [torch.cat(versions) for versions in zip(*(case.pictures for case in cases), strict=True)]


class Planes(nn.Module):
    """Wrapper of a layer that exposes its output to Grad-CAM as planes (N, D, h, w), whatever the layer's layout.

    Gradients begin at this layer if none is required before it, so that the activations of earlier layers, most of
    the network's memory, need not be kept.
    """

    def __init__(self, layer: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.planes = nn.Identity()
        self.n_prefix = int(getattr(body, "num_prefix_tokens", None) or 0)
        self.channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"
        self.grid = getattr(getattr(body, "patch_embed", None), "grid_size", None)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the layer's output in its own layout."""
        out: Tensor = self.layer(*inputs)
        if not out.requires_grad:
            out.requires_grad_()
        if out.ndim == 4:
            if self.channels_last:
                return self._pass(out.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return self._pass(out)
        prefix, patches = out[:, : self.n_prefix], out[:, self.n_prefix :]
        rows, columns = self._grid_of(patches.shape[1])
        planes = self._pass(patches.transpose(1, 2).reshape(len(out), -1, rows, columns))
        return torch.cat([prefix, planes.flatten(2).transpose(1, 2)], 1)

    def _pass(self, planes: Tensor) -> Tensor:
        passed: Tensor = self.planes(planes)
        return passed

    def _grid_of(self, n: int) -> tuple[int, int]:
        """Return rows and columns of ``n`` patches, such as 24 x 24 at 384 pixels."""
        if self.grid is not None and self.grid[0] * self.grid[1] == n:
            return self.grid[0], self.grid[1]
        return math.isqrt(n), math.isqrt(n)


class Explained(nn.Module):
    """Copy of a fold's model with readable gradients, whose inputs are separate tensors, as Captum requires.

    Attributes:
        model: The copy; its weights are those of the model itself, whose gradients are switched off.
        grids: Rows and columns of the feature planes by modality, once `planes` was called.
    """

    def __init__(self, model: TripletModel) -> None:
        super().__init__()
        shared: dict[int, object] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        self.model = copy.deepcopy(model, shared).eval().requires_grad_(False)
        self.grids: dict[str, tuple[int, int]] = {}
        self._first_stages: dict[tuple[str, int], FirstStage | None] = {}
        self._late_trunks: dict[str, LateTrunk | None] = {}
        for module in self.model.modules():
            if getattr(module, "inplace", False):  # a hook cannot read an output that is overwritten
                module.inplace = False  # type: ignore[assignment]

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.model.modalities

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute logits (B, C) from pictures (B, V, 3, S, S) by modality, presence (B, M, V) and clinical columns."""
        *pictures, present, clinical = inputs
        logits: Tensor = self.model(pictures, present, clinical)
        # Captum asks for the gradient of every modality, so an absent one takes part with weight zero.
        return logits + 0 * torch.stack([picture.flatten(1).sum(1) for picture in pictures]).sum(0)[:, None]

    def encode(self, case: Case) -> list[tuple[Tensor, Tensor]]:
        """Compute tokens and logits of each modality of one patient, see `TripletModel.encode`."""
        present = case.present.unbind(1)
        return [
            self.model.encode(m, p, mask) for m, p, mask in zip(self.modalities, case.pictures, present, strict=True)
        ]

    def fuse(
        self,
        case: Case,
        encoded: Sequence[tuple[Tensor, Tensor]],
        m: int,
        views: Tensor,
        trunk: Trunk | None = None,
    ) -> Tensor:
        """Compute logits (B, C) for B versions (B, V, 3, S, S) of one modality; others come from ``encoded``.

        ``trunk`` computes the feature maps of the modality in place of the network itself.
        """
        n = len(views)
        present, clinical = case.repeated(n)
        parts = [(tokens.expand(n, -1, -1, -1), logits.expand(n, -1, -1)) for tokens, logits in encoded]
        parts[m] = self.model.encode(self.modalities[m], views, present[:, m], trunk)
        return self.model.fuse(parts, present, clinical)

    def versions(self, case: Case, pictures: Sequence[Tensor]) -> Tensor:
        """Compute logits (B, C) of a patient whose ``pictures`` come in B versions."""
        logits: Tensor = self.model(pictures, *case.repeated(len(pictures[0])))
        return logits

    @torch.no_grad()
    def probs(self, case: Case) -> Tensor:
        """Compute probabilities (B, C) of a case whose pictures come in B versions."""
        return self.versions(case, case.pictures).double().softmax(1)

    @torch.no_grad()
    def probs_of(self, case: Case, present: Tensor) -> Tensor:
        """Compute probabilities (B, C) under B presence masks (B, M, V); each picture passes its network once."""
        n = len(present)
        encoded = [(tokens.expand(n, -1, -1, -1), logits.expand(n, -1, -1)) for tokens, logits in self.encode(case)]
        _, clinical = case.repeated(n)
        return self.model.fuse(encoded, present, clinical).double().softmax(1)

    def planes(self, modality: str) -> nn.Module:
        """Return the layer that holds the last stage of a modality's network as feature planes.

        For a convolutional network this is the output of the last stage; for a vision transformer the input of the
        last block's attention (``norm1``).

        Raises:
            SettingsError: If the network keeps no spatial features.
        """
        body = self.backbone(modality).body
        name = last_stage(body)
        try:
            layer = body.get_submodule(name)
        except AttributeError:
            raise no_spatial_features(modality) from None
        if not isinstance(layer, Planes):
            layer = Planes(layer, body)
            body.set_submodule(name, layer)
            self._check_planes(modality, layer)
        return layer.planes

    def backbone(self, modality: str) -> Backbone:
        """Return the network of a modality: the source of the head's tokens if it has one, else the member's own."""
        sources, key = self.model.sources, module_key(modality)
        if key not in sources:
            return self.own(modality)
        backbone = sources[key]
        assert isinstance(backbone, Backbone)
        return backbone

    def first_stage(self, modality: str, square: int) -> FirstStage | None:
        """Return the first stage of a modality's own network for squares of a size: see `find_first_stage`."""
        key = modality, square
        if key not in self._first_stages:
            self._first_stages[key] = find_first_stage(self.own(modality), self.model.sides[modality], square)
        return self._first_stages[key]

    def late_trunk(self, modality: str, origin: "Explained") -> LateTrunk | None:
        """Return what of a modality's own network comes behind the stages of ``origin``, of which this is a copy."""
        if modality not in self._late_trunks:
            own, theirs = self.own(modality), origin.own(modality)
            self._late_trunks[modality] = find_late_trunk(own, theirs, self.model.sides[modality])
        return self._late_trunks[modality]

    def own(self, modality: str) -> Backbone:
        """Return the network that the modality's own head reads."""
        backbone = self.model.members[module_key(modality)].backbone
        assert isinstance(backbone, Backbone)
        return backbone

    def _check_planes(self, modality: str, layer: Planes) -> None:
        """Check on a black picture that the planes have more than one position."""
        shapes: list[torch.Size] = []
        hook = layer.planes.register_forward_hook(lambda module, inputs, out: shapes.append(out.shape))
        side = self.model.sides[modality]
        try:
            with torch.no_grad():
                self.backbone(modality).feature_map(torch.zeros(1, 3, side, side))
        except (AttributeError, TypeError, ValueError, RuntimeError):  # no tensor, or tokens that form no grid
            raise no_spatial_features(modality) from None
        finally:
            hook.remove()
        if shapes and max(shapes[0][2:]) > 1:
            self.grids[modality] = (shapes[0][2], shapes[0][3])
            return
        raise SettingsError(
            f"{modality}: the last stage of its network reduces {side} x {side} pixels to a single position.",
            "Train with a larger `--image-size` or another backbone, or choose `--method ig` or `occlusion`.",
        )

    def shuffled(self, share: float, generator: torch.Generator) -> "Explained":
        """Return a copy with shuffled weights, from the last layer down over a ``share`` of the weight tensors.

        The values within each tensor are permuted, so every layer keeps the spread of its weights, and its
        activations their size, which newly drawn weights would not guarantee in a deep network. The fusion is
        shuffled with any share.

        Args:
            share: Share of the weight tensors of each network, counted from its end.
            generator: Source of the permutations.
        """
        copied = copy.deepcopy(self)
        copied._first_stages = self._first_stages  # what a cell sees is the same whatever the weights
        parts: list[nn.Module] = [*copied.model.members.values(), *copied.model.sources.values()]
        chosen = list(copied.model.fusion.parameters())
        for part in parts:
            tensors = list(part.parameters())
            chosen += tensors[len(tensors) - math.ceil(share * len(tensors)) :]
        for tensor in chosen:
            order = torch.randperm(tensor.numel(), generator=generator, dtype=torch.int32)  # half the time of int64
            tensor.data = tensor.data.flatten().index_select(0, order).view_as(tensor)
        return copied


def no_spatial_features(modality: str) -> SettingsError:
    """Build the error for a network without spatial features."""
    return SettingsError(
        f"{modality}: its backbone keeps no spatial features, which Grad-CAM needs.",
        "Choose `--method ig` or `--method occlusion`, or train another backbone, such as `resnet152`.",
    )


def last_stage(body: nn.Module) -> str:
    """Name the module of a timm network that ends its last stage."""
    blocks = getattr(body, "blocks", None)
    # After the last block of a vision transformer, patches no longer reach the class token: read before it.
    if getattr(body, "num_prefix_tokens", None) is not None and blocks and hasattr(blocks[-1], "norm1"):
        return f"blocks.{len(blocks) - 1}.norm1"
    stages = list(getattr(body, "feature_info", None) or [{}])
    return str(stages[-1].get("module", "?"))
