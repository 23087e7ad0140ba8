import pytest
import timm
import torch

from fusion_ln.errors import SettingsError
from fusion_ln.models.backbones import create_backbone
from fusion_ln.terms import PAPER_BACKBONES


def pictures(size=32):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PAPER_BACKBONES)
def test_the_papers_backbones_are_built_for_384_pixels(name):
    with torch.device("meta"):
        body = timm.create_model(
            {"vit_b_16": "vit_base_patch16_384", "efficientnet_b7": "tf_efficientnet_b7"}.get(name, name), num_classes=0
        )
        assert body(torch.empty(1, 3, 384, 384)).ndim == 2


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("size", [32, 64])
def test_features_have_the_announced_width_at_any_size(name, size):
    backbone = create_backbone(name, image_size=size).eval()
    assert backbone(pictures(size)).shape == (2, backbone.n_features)


def test_an_unknown_name_gets_the_nearest_known_ones():
    with pytest.raises(SettingsError, match="Did you mean 'resnet152'"):
        create_backbone("resent152", image_size=32)
