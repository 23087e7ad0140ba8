"""Files in the layouts that others publish arrive in timm's networks, tensor by tensor; wrong ones are refused."""

import argparse
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer

from fusion_ln.errors import WeightsError
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.weights.fit import fit_file
from fusion_ln.models.weights.network import Network
from fusion_ln.models.weights.presets import PRESETS, network_of

VIT = {"embed_dim": 24, "depth": 3, "num_heads": 2}
RESNET = {"layers": (1, 1, 1, 1), "channels": (4, 8, 12, 16)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def drawn(network):
    """Give every tensor values of its own, norms too, which begin as ones and zeros."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if name.endswith("running_var") else -0.5
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network.eval()


@pytest.fixture(scope="module")
def vit():
    return drawn(timm.create_model("vit_base_patch16_224", num_classes=5, **VIT)).state_dict()


@pytest.fixture(scope="module")
def resnet():
    return drawn(timm.create_model("resnet50", num_classes=5, **RESNET)).state_dict()


def under(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def network(backbone, arguments):
    return Network(backbone=backbone, arguments=arguments, **IMAGENET)


def fitted(path, backbone, arguments, size=None, **options):
    return fit_file(backbone, path, size, network(backbone, arguments), **options)


def assert_arrived(fit, tensors):
    held = fit.body.state_dict()
    assert held
    for name, tensor in held.items():
        assert torch.equal(tensor, tensors[name]), name


def in_chunk(block):
    return f"blocks.{int(block[1]) // 2}.{block[1]}"


DECODER = {"mask_token": torch.ones(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
VIT_FILES = {
    "MAE with its training": lambda own: {
        "model": own | DECODER, "optimizer": {}, "args": argparse.Namespace(out=Path("x")), "best": np.float64(1),
    },
    "MAE, flat": lambda own: own | DECODER,
    "DINO": lambda own: {
        "student": under("module.backbone.", {k: v + 1 for k, v in own.items()}),
        "teacher": under("backbone.", own) | {"head.mlp.0.weight": torch.ones(3, 3)},
        "epoch": 3,
    },
    "DINOv2, chunks": lambda own: {
        "teacher": under("backbone.", {re.sub(r"^blocks.(.)", in_chunk, name): v for name, v in own.items()})
    },
    "Lightning": lambda own: {"state_dict": under("model.", own), "hyper_parameters": {"lr": 1.0}, "epoch": 1},
    "SimMIM": lambda own: {"model": under("encoder.", own) | {"encoder.mask_token": torch.ones(1, 1, 24)}},
    "open_clip": lambda own: under("visual.trunk.", own) | {"text.embed": torch.ones(4, 24)},
}  # fmt: skip


@pytest.mark.parametrize("publish", VIT_FILES.values(), ids=VIT_FILES)
def test_a_vit_arrives(tmp_path, vit, publish):
    torch.save(publish(vit), tmp_path / "w.pth")
    assert_arrived(fitted(tmp_path / "w.pth", "vit_base_patch16_224", VIT), vit)


RESNET_CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
RESNET_FILES = {
    "RadImageNet": lambda own: {
        f"backbone.{RESNET_CHILDREN[name.split('.')[0]]}.{name.partition('.')[2]}": tensor
        for name, tensor in own.items() if not name.startswith("fc.")
    },
    "MoCo v3": lambda own: {
        "state_dict": under("module.base_encoder.", own)
        | under("module.momentum_encoder.", {k: v + 1 for k, v in own.items()}),
    },
    "MoCo v2": lambda own: {"state_dict": under("module.encoder_q.", own), "arch": "resnet50"},
    "a key of its own, beside an optimizer": lambda own: {
        "encoder": own,
        "optimizer": {"state": {i: {"exp_avg": v, "step": v, "max": v} for i, v in enumerate(own.values())},
                      "param_groups": [{"lr": 1.0}]},
    },
    "values of an average, beside": lambda own: {"state_dict": own, "ema": {"decay": torch.ones(1)}},
}  # fmt: skip


@pytest.mark.parametrize("publish", RESNET_FILES.values(), ids=RESNET_FILES)
def test_a_resnet_arrives(tmp_path, resnet, publish):
    torch.save(publish(resnet), tmp_path / "w.pt")
    assert_arrived(fitted(tmp_path / "w.pt", "resnet50", RESNET), resnet)


def test_a_rival_prefix_is_named(tmp_path, resnet):
    torch.save(RESNET_FILES["MoCo v3"](resnet), tmp_path / "w.pt")
    found = fitted(tmp_path / "w.pt", "resnet50", RESNET).match
    assert (found.prefix, found.rivals) == ("module.base_encoder.", ("module.momentum_encoder.",))


def test_usfm_arrives_and_its_shared_table_in_every_block_where_each_has_one(tmp_path):
    shared = network_of(PRESETS["usfm"], "usfm", "beit_base_patch16_224", VIT)
    donor = drawn(timm.create_model("beit_base_patch16_224", num_classes=0, **shared.arguments))
    table = "rel_pos_bias.relative_position_bias_table"
    published = donor.state_dict() | {
        "mask_token": torch.ones(1, 1, 24),
        "rel_pos_bias.relative_position_index": torch.ones(197, 197, dtype=torch.long),
    }
    torch.save(published, tmp_path / "USFM.pth")
    assert_arrived(fit_file("beit_base_patch16_224", tmp_path / "USFM.pth", None, shared), published)
    spread = fitted(tmp_path / "USFM.pth", "beit_base_patch16_224", VIT | {"global_pool": "token"})
    for number in range(3):
        assert torch.equal(spread.body.blocks[number].attn.relative_position_bias_table, published[table])
    pictures = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(spread.body.eval()(pictures), donor(pictures))
    with pytest.raises(WeightsError, match=r"relative_position_bias_table is 732 x 2 in the file and 732 x 4"):
        fit_file("beit_base_patch16_224", tmp_path / "USFM.pth", None,
                 shared.model_copy(update={"arguments": shared.arguments | {"num_heads": 4}}))  # fmt: skip


def test_tinyusfm_pools_by_the_mean_with_its_heads(tmp_path):
    preset = network_of(PRESETS["tinyusfm"], "tinyusfm", "vit_tiny_patch16_224", {"embed_dim": 24, "depth": 2})
    donor = drawn(timm.create_model("vit_tiny_patch16_224", num_classes=0, **preset.arguments))
    assert donor.blocks[0].attn.num_heads == 12
    torch.save(under("module.model.", donor.state_dict()), tmp_path / "TinyUSFM.pth")
    fit = fit_file("vit_tiny_patch16_224", tmp_path / "TinyUSFM.pth", None, preset)
    pictures = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(fit.body.eval()(pictures), donor(pictures))
    other = fitted(tmp_path / "TinyUSFM.pth", "vit_tiny_patch16_224", {"embed_dim": 24, "depth": 2})
    assert torch.equal(other.body.norm.weight, donor.fc_norm.weight)
    assert "fc_norm taken as norm" in other.match.rules[0]


def test_one_channel_becomes_three_that_give_grey_pictures_what_they_gave(tmp_path, vit):
    grey = vit["patch_embed.proj.weight"].sum(1, keepdim=True)
    torch.save({"teacher": under("backbone.", vit | {"patch_embed.proj.weight": grey})}, tmp_path / "UltraDINO.pth")
    fit = fitted(tmp_path / "UltraDINO.pth", "vit_base_patch16_224", VIT)
    picture = torch.rand(1, 1, 16, 16)
    arrived = fit.body.patch_embed.proj.weight
    torch.testing.assert_close(
        nn.functional.conv2d(picture.expand(1, 3, 16, 16), arrived), nn.functional.conv2d(picture, grey)
    )


def small_convnext():
    sizes = (4, 8, 8, 12)
    blocks = [CNBlockConfig(own, after, 1) for own, after in zip(sizes, (*sizes[1:], None), strict=True)]
    net = ConvNeXt(blocks, num_classes=3)
    net.classifier[2] = nn.Identity()
    return net, "convnext_tiny", {"depths": (1, 1, 1, 1), "dims": sizes}, 64


def small_vit():
    net = VisionTransformer(image_size=64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=96)
    net.heads = nn.Identity()
    return net, "vit_base_patch16_224", VIT, 64


def efficientnet():
    net = torchvision.models.efficientnet_b0()
    net.classifier = nn.Identity()
    return net, "tf_efficientnet_b0", {}, 64


@pytest.mark.parametrize("build", [small_convnext, small_vit, efficientnet])
def test_torchvisions_file_gives_torchvisions_features(tmp_path, build):
    theirs, name, arguments, size = build()
    drawn(theirs)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    fit = fitted(tmp_path / "w.pth", name, arguments, size)
    pictures = torch.rand(2, 3, size, size)
    with torch.no_grad():
        expected = theirs(pictures)
        scale = float(expected.abs().max())
        torch.testing.assert_close(fit.body.eval()(pictures) / scale, expected / scale, rtol=1e-4, atol=1e-4)


def test_the_vit_file_of_the_older_torchvision_arrives_too(tmp_path):
    """Its server still gives this version, whose layers have other names."""
    theirs, name, arguments, size = small_vit()
    old = {
        key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): tensor
        for key, tensor in drawn(theirs).state_dict().items()
    }
    torch.save(old, tmp_path / "w.pth")
    fit = fitted(tmp_path / "w.pth", name, arguments, size)
    assert torch.equal(fit.body.blocks[1].mlp.fc2.weight, old["encoder.layers.encoder_layer_1.mlp.linear_2.weight"])


def test_torchvisions_file_brings_imagenets_normalisation(tmp_path):
    theirs = VisionTransformer(160, patch_size=16, num_layers=6, num_heads=2, hidden_dim=64, mlp_dim=192)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    backbone = create_backbone("test_vit", image_size=32, weights=str(tmp_path / "w.pth"))
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(IMAGENET["mean"]))
    torch.testing.assert_close(backbone.std.flatten(), torch.tensor(IMAGENET["std"]))
    assert create_backbone("test_vit", image_size=32).mean.flatten().tolist() == [0.5] * 3  # timm's own


def test_a_folder_that_timm_opens_is_a_file_with_its_network(tmp_path, vit):
    config = {"architecture": "vit_base_patch16_224", "model_args": {**VIT, "img_size": 224}, "num_classes": 5}
    config["pretrained_cfg"] = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "license": "mit"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(vit, tmp_path / "model.safetensors")
    backbone = create_backbone("vit_base_patch16_224", image_size=224, weights=str(tmp_path))
    assert_arrived(argparse.Namespace(body=backbone.body), vit)
    torch.testing.assert_close(backbone.std.flatten(), torch.tensor([0.4, 0.5, 0.6]))
    for wrong in (
        {"model_args": {"pretrained": True}},
        {"pretrained_cfg": config["pretrained_cfg"] | {"std": [0, 1, 1]}},
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(WeightsError, match="cannot be read as timm's description of a network"):
            create_backbone("vit_base_patch16_224", image_size=224, weights=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read as timm's description of a network"):
        create_backbone("vit_base_patch16_224", image_size=224, weights=str(tmp_path))


def test_another_width_is_refused_with_what_matched(tmp_path, vit):
    torch.save(vit, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not weights of vit_base_patch16_224 \(\d+ of \d+ tensors match"):
        fitted(tmp_path / "w.pth", "vit_base_patch16_224", VIT | {"embed_dim": 32})


def test_a_deeper_networks_file_is_refused(tmp_path, vit):
    """All tensors of the shorter network match, as ResNet-101's do with ResNet-50."""
    torch.save(vit, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"all 30 tensors match, but its blocks\.2\.\S+ has no place in the network"):
        fitted(tmp_path / "w.pth", "vit_base_patch16_224", VIT | {"depth": 2})


@pytest.mark.parametrize("name", ["blocks.0.ls1.gamma", "blocks.1.attn.q_norm.weight", "norm_pre.weight", "reg_token"])
def test_a_part_that_the_network_lacks_is_not_dropped(tmp_path, vit, name):
    """A file of DINOv2 has layer scale, which a plain transformer would leave out in silence."""
    torch.save(under("backbone.", vit | {name: torch.ones(24)}), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"all 42 tensors match, but its backbone\.{name} has no place"):
        fitted(tmp_path / "w.pth", "vit_base_patch16_224", VIT)


def test_a_norm_may_be_missing_where_that_is_allowed(tmp_path, vit):
    torch.save({k: v for k, v in vit.items() if not k.startswith("norm.")}, tmp_path / "w.pth")
    load = partial(fitted, tmp_path / "w.pth", "vit_base_patch16_224", VIT)
    with pytest.raises(WeightsError, match=r"it lacks norm\.weight, norm\.bias\)"):
        load()
    assert load(allowed=["norm"]).missing == ("norm.weight", "norm.bias")


def test_a_decoder_is_named_as_left_over(tmp_path, vit):
    torch.save({"model": vit | DECODER}, tmp_path / "w.pth")
    left_over = fitted(tmp_path / "w.pth", "vit_base_patch16_224", VIT).left_over
    assert {"decoder_blocks.0.norm1.weight", "head.weight", "head.bias"} <= set(left_over)


def test_a_file_cut_short_is_refused(tmp_path, vit):
    torch.save(vit, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:-3000])
    with pytest.raises(WeightsError, match=r"w\.pth: damaged, or no weight file"):
        fitted(tmp_path / "w.pth", "vit_base_patch16_224", VIT)
