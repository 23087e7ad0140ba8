"""Small models of patients' pictures, as `load_run` would give them."""

from collections.abc import Callable

import pytest
import torch

from fusion_ln.explain.network import Case, Explained
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.triplet import LateFusion, Single, TripletModel
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings

SIDE = 64
MODALITIES = ("2d", "cdfi", "elastic")


@pytest.fixture
def make_model() -> Callable[..., TripletModel]:
    """A fold's model of new weights: of one modality, or of three with a late or a trained head."""

    def make(backbone: str = "test_resnet", head: str = "", side: int = SIDE) -> TripletModel:
        torch.manual_seed(0)
        fit = FitSettings(backbone=backbone, image_size=side, head_width=16)
        names = MODALITIES if head else MODALITIES[:1]
        members = {name: build_classifier(fit, 3).eval() for name in names}
        sides = dict.fromkeys(names, side)
        if not head:
            return TripletModel(members, Single(), sides).eval()
        if head.startswith("late"):
            return TripletModel(members, LateFusion(head, None), sides).eval()
        settings = HeadSettings(head=head, width=16, grid=2, anchored=False, ensemble_size=2)
        shape = TripletShape(3, members["2d"].backbone.n_token_features, 3)
        return TripletModel(members, HeadEnsemble(settings, shape), sides, grid=2).eval()

    return make


@pytest.fixture
def make_case() -> Callable[..., Case]:
    """A patient with noise for pictures; ``views`` of each modality, 0 for one that is absent."""

    def make(views: tuple[int, ...] = (1,), side: int = SIDE, target: int = 1) -> Case:
        generator = torch.Generator().manual_seed(3)
        most = max(views)
        pictures = tuple(torch.rand(1, most, 3, side, side, generator=generator) for _ in views)
        present = torch.tensor([[[v < n for v in range(most)] for n in views]])
        return Case(
            tuple(p * t[..., None, None, None] for p, t in zip(pictures, present[0], strict=True)), present, target
        )

    return make


@pytest.fixture
def explained(make_model: Callable[..., TripletModel]) -> Explained:
    """A late fusion of three small networks."""
    return Explained(make_model(head="late-mean"))
