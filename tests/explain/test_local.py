"""Passes that take up earlier ones: their features are those of whole passes, and some networks allow none."""

import pytest
import torch

from fusion_ln.explain.hooks import outputs_of
from fusion_ln.explain.local import LateTrunk, LocalTrunk, find_first_stage, find_late_trunk
from fusion_ln.explain.network import Explained

SIDE, SQUARE = 64, 8
CORNERS = [(0, 0), (0, 33), (27, 20), (56, 56), (61, 3)]  # at edges, between cells, and reaching out of the picture


@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "test_efficientnet"])
def test_local_features_are_those_of_the_whole_pictures(make_model, name):
    backbone = Explained(make_model(name)).own("2d")
    stage = find_first_stage(backbone, SIDE, SQUARE)
    assert stage is not None
    pictures = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    versions = pictures.repeat(len(CORNERS), 1, 1, 1)
    for version, (top, left) in enumerate(CORNERS):
        versions[2 * version, :, top : top + SQUARE, left : left + SQUARE] = 0
    with torch.no_grad():
        with outputs_of([backbone.body.get_submodule(stage.name)]) as known:
            backbone.feature_map(pictures)
        trunk = LocalTrunk(backbone, stage, known[0], SQUARE)
        sizes = []
        first = next(module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d))
        hook = first.register_forward_hook(lambda module, inputs, out: sizes.append(inputs[0].shape[-1]))
        local = trunk.features(versions, [corner for corner in CORNERS for _ in range(2)])
        hook.remove()
        torch.testing.assert_close(local, backbone.feature_map(versions))
    assert sizes[0] < 0.75 * SIDE


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_networks_that_see_too_much_have_no_local_stage(make_model, name):
    assert find_first_stage(Explained(make_model(name)).own("2d"), SIDE, SQUARE) is None


def test_a_stage_that_gives_other_features_is_not_used(make_model, monkeypatch):
    backbone = Explained(make_model("test_resnet")).own("2d")
    monkeypatch.setattr(LocalTrunk, "features", lambda self, pictures, corners: self.backbone.feature_map(pictures) + 1)
    assert find_first_stage(backbone, SIDE, SQUARE) is None


def copy_of(explained, share):
    """A copy with the last weights shuffled, as the tests of maps make it."""
    return explained.shuffled(share, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext", "test_vit"])
def test_a_copy_goes_on_from_the_last_stage_that_it_shares(make_model, name):
    explained = Explained(make_model(name))
    origin, backbone = explained.own("2d"), copy_of(explained, 0.2).own("2d")
    late = find_late_trunk(backbone, origin, SIDE)
    assert late is not None
    pictures = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    sizes = []
    first = next(module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        with outputs_of([origin.body.get_submodule(late.stage)]) as known:
            others = origin.feature_map(pictures)
        hook = first.register_forward_hook(lambda module, inputs, out: sizes.append(inputs[0].numel()))
        found = late.going_on(known[0])(pictures)
        hook.remove()
        whole = backbone.feature_map(pictures)
    torch.testing.assert_close(found, whole)
    assert not torch.allclose(found, others)
    assert sizes[0] < 0.1 * pictures.numel()


def test_a_copy_without_a_common_stage_goes_its_whole_way(make_model):
    explained = Explained(make_model("resnet10t"))
    assert find_late_trunk(copy_of(explained, 1.0).own("2d"), explained.own("2d"), SIDE) is None


def test_a_copy_that_goes_on_to_other_features_is_not_used(make_model, monkeypatch):
    explained = Explained(make_model("resnet10t"))
    monkeypatch.setattr(LateTrunk, "going_on", lambda self, known: lambda pictures: torch.zeros(1, 512, 2, 2))
    assert find_late_trunk(copy_of(explained, 0.1).own("2d"), explained.own("2d"), SIDE) is None
