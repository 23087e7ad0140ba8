"""A fold's model made ready to be explained: no activation in place, and its last stage readable as planes."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fusion_ln.errors import SettingsError
from fusion_ln.models.backbones import Backbone
from fusion_ln.models.triplet import TripletModel


@dataclass(frozen=True)
class Case:
    """One patient on the way into a model, and the class to explain.

    Attributes:
        pictures: Of each modality, in [0, 1]. Each of shape (1, V, 3, S, S).
        present: Which pictures there are. bool, shape (1, M, V).
        target: The class.
        clinical: Standardised columns (1, K), for a head that takes them.
    """

    pictures: tuple[Tensor, ...]
    present: Tensor
    target: int
    clinical: Tensor | None = None

    @property
    def more(self) -> tuple[Tensor, Tensor | None]:
        """What the model takes besides the pictures."""
        return self.present, self.clinical

    @property
    def modalities(self) -> list[int]:
        """Positions of the modalities that the patient has."""
        return torch.nonzero(self.present[0].any(1)).flatten().tolist()

    def of(self, target: int) -> "Case":
        """The same patient, to explain another class."""
        return replace(self, target=target)

    def seen(self, pictures: Sequence[Tensor]) -> "Case":
        """The same patient with other pixels."""
        return replace(self, pictures=tuple(pictures))


class Planes(nn.Module):
    """A layer whose output passes by as planes (N, D, h, w), where Grad-CAM reads it, whatever its own layout.

    Gradients begin here where nothing before asks for them: what the network computed up to this layer need not be
    kept, which is most of its memory.
    """

    def __init__(self, layer: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.planes = nn.Identity()
        self.n_prefix = int(getattr(body, "num_prefix_tokens", None) or 0)
        self.channels_last = getattr(body, "output_fmt", "NCHW") == "NHWC"
        self.grid = getattr(getattr(body, "patch_embed", None), "grid_size", None)

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the layer says, in its own layout."""
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
        """Rows and columns of ``n`` patches: the network's own grid, such as 24 x 24 at 384 pixels."""
        if self.grid is not None and self.grid[0] * self.grid[1] == n:
            return self.grid[0], self.grid[1]
        return math.isqrt(n), math.isqrt(n)


class Explained(nn.Module):
    """A copy of a fold's model whose gradients can be read; as Captum wants it, it takes each modality's pictures.

    Attributes:
        model: The copy.
        grids: Rows and columns of places that each modality's `planes` tell apart, once they were asked for.
    """

    def __init__(self, model: TripletModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.grids: dict[str, tuple[int, int]] = {}
        for module in self.model.modules():
            if getattr(module, "inplace", False):  # what an activation overwrites, a hook can no longer read
                module.inplace = False  # type: ignore[assignment]

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.model.modalities

    def forward(self, *inputs: Tensor) -> Tensor:
        """Pictures of each modality (B, V, 3, S, S), presence (B, M, V) and clinical columns, to logits (B, C)."""
        *pictures, present, clinical = inputs
        logits: Tensor = self.model(pictures, present, clinical)
        # Gradients are asked of every modality: one that is absent takes part, with zero.
        return logits + 0 * torch.stack([picture.flatten(1).sum(1) for picture in pictures]).sum(0)[:, None]

    def see(self, case: Case) -> list[tuple[Tensor, Tensor]]:
        """What the networks say of each modality of one patient, see `TripletModel.see`."""
        there = case.present.unbind(1)
        return [self.model.see(m, p, t) for m, p, t in zip(self.modalities, case.pictures, there, strict=True)]

    def fuse(self, case: Case, seen: Sequence[tuple[Tensor, Tensor]], m: int, views: Tensor) -> Tensor:
        """Logits (B, C) of a patient of whom one modality has B versions (B, V, 3, S, S): it alone is seen anew."""
        n = len(views)
        present = case.present.expand(n, -1, -1)
        parts = [(tokens.expand(n, -1, -1, -1), logits.expand(n, -1, -1)) for tokens, logits in seen]
        parts[m] = self.model.see(self.modalities[m], views, present[:, m])
        clinical = None if case.clinical is None else case.clinical.expand(n, -1)
        return self.model.fuse(parts, present, clinical)

    @torch.no_grad()
    def probs(self, case: Case) -> Tensor:
        """Probabilities (B, C) of a case whose pictures may come in B versions."""
        n = len(case.pictures[0])
        clinical = None if case.clinical is None else case.clinical.expand(n, -1)
        probs: Tensor = self(*case.pictures, case.present.expand(n, -1, -1), clinical).double().softmax(1)
        return probs

    @torch.no_grad()
    def probs_of(self, case: Case, present: Tensor) -> Tensor:
        """Probabilities (B, C) of a case from B choices of its pictures (B, M, V), each picture seen but once."""
        n = len(present)
        seen = [(tokens.expand(n, -1, -1, -1), logits.expand(n, -1, -1)) for tokens, logits in self.see(case)]
        clinical = None if case.clinical is None else case.clinical.expand(n, -1)
        return self.model.fuse(seen, present, clinical).double().softmax(1)

    def planes(self, modality: str) -> nn.Module:
        """The layer that shows the last stage of a modality's network as planes.

        Of a network of convolutions, what its last stage says; of a vision transformer, what its last block is about
        to attend to (``norm1``).

        Raises:
            SettingsError: If the network keeps no spatial features.
        """
        body = self.backbone(modality).body
        name = self._last_stage(body)
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
        """The network that sees a modality: where a head reads the tokens of another than the member's, that one."""
        sources = self.model.sources
        backbone = sources[modality] if modality in sources else self.model.members[modality].backbone
        assert isinstance(backbone, Backbone)
        return backbone

    @staticmethod
    def _last_stage(body: nn.Module) -> str:
        blocks = getattr(body, "blocks", None)
        # The patches of a vision transformer's last block no longer reach its class token: look before it.
        if getattr(body, "num_prefix_tokens", None) is not None and blocks and hasattr(blocks[-1], "norm1"):
            return f"blocks.{len(blocks) - 1}.norm1"
        stages = list(getattr(body, "feature_info", None) or [{}])
        return str(stages[-1].get("module", "?"))

    def _check_planes(self, modality: str, layer: Planes) -> None:
        """Let a black picture pass and see whether places can be told apart."""
        seen: list[torch.Size] = []
        hook = layer.planes.register_forward_hook(lambda module, inputs, out: seen.append(out.shape))
        side = self.model.sides[modality]
        try:
            with torch.no_grad():
                self.backbone(modality).feature_map(torch.zeros(1, 3, side, side))
        except (AttributeError, TypeError, ValueError, RuntimeError):  # no tensor, or tokens that form no grid
            raise no_spatial_features(modality) from None
        finally:
            hook.remove()
        if seen and max(seen[0][2:]) > 1:
            self.grids[modality] = (seen[0][2], seen[0][3])
            return
        raise SettingsError(
            f"{modality}: the last stage of its network sees a picture of {side} x {side} pixels as a single place.",
            "Train with a larger `--image-size` or another backbone, or take `--method ig` or `occlusion`.",
        )

    def shuffled(self, share: float, generator: torch.Generator) -> "Explained":
        """A copy that forgot what it learnt from the last layer down, over a ``share`` of the weights.

        The values of each tensor change places. So every layer keeps the spread of its weights, and its activations
        their size, which a new draw would not promise in a deep network. The fusion goes first,
        with any share.

        Args:
            share: Of the weight tensors of each network, counted from its end.
            generator: What draws the places.
        """
        copied = copy.deepcopy(self)
        parts: list[nn.Module] = [*copied.model.members.values(), *copied.model.sources.values()]
        chosen = list(copied.model.fusion.parameters())
        for part in parts:
            tensors = list(part.parameters())
            chosen += tensors[len(tensors) - math.ceil(share * len(tensors)) :]
        for tensor in chosen:
            places = torch.randperm(tensor.numel(), generator=generator)
            tensor.data = tensor.data.flatten()[places].view_as(tensor)
        return copied


def no_spatial_features(modality: str) -> SettingsError:
    """The message for a network in which places cannot be told apart."""
    return SettingsError(
        f"{modality}: its backbone keeps no spatial features that Grad-CAM could weigh.",
        "Take `--method ig` or `--method occlusion`, which need none, or train another backbone, such as `resnet152`.",
    )
