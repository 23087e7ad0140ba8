import json

import pytest
import timm
import torch

from fusion_ln.errors import SettingsError
from fusion_ln.models import backbones
from fusion_ln.models.backbones import check_backbone, create_backbone, describe_for_timm, find_network
from fusion_ln.models.checkpoint import save_tensors
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


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_timm_builds_a_described_backbone_with_its_normalisation(name, tmp_path):
    backbone = create_backbone(name, image_size=64).eval()
    (tmp_path / "config.json").write_text(json.dumps(describe_for_timm(backbone, 64)))
    save_tensors(tmp_path / "model.safetensors", backbone.body.state_dict())
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(network((pictures(64) - mean) / std), backbone(pictures(64)), atol=1e-5, rtol=1e-5)
    chosen = {key: config[key] for key in ("interpolation", "crop_mode", "crop_pct")}
    assert chosen == {"interpolation": "bicubic", "crop_mode": "border", "crop_pct": 1.0}
    assert tuple(config["input_size"]) == (3, 64, 64)


def test_an_unknown_name_gets_the_nearest_known_ones():
    with pytest.raises(SettingsError, match="Did you mean 'resnet152'"):
        create_backbone("resent152", image_size=32)


def test_a_wrong_tag_is_refused_with_the_tags_there_are():
    with pytest.raises(SettingsError, match=r"resnet18.a4_in1k: a4_in1k: unknown tag.\n.*Did you mean 'a[123]_in1k'"):
        check_backbone("resnet18.a4_in1k")


@pytest.mark.parametrize("old", ["tf_efficientnet_b0_ns", "xception"])
def test_an_old_name_of_timm_works_and_the_new_one_is_said_once(old, capsys):
    now = timm.models.get_deprecated_models()[old]
    backbones._say_renamed.cache_clear()
    check_backbone(old)
    check_backbone(old)
    assert capsys.readouterr().err == f"{old} is an old name in timm; the network is now called {now}.\n"
    with torch.device("meta"):
        backbone = create_backbone(old, image_size=64)
        assert backbone(torch.empty(2, 3, 64, 64)).shape == (2, backbone.n_features)


def test_every_old_name_that_timm_maps_is_found():
    names = timm.models.get_deprecated_models()
    assert {name: find_network(name) for name in names} == names
