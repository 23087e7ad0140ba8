"""Imported weights carry their network, and everything that is built from them keeps it."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tiny import FIT, fusionln, refused

from fusion_ln.errors import WeightsError
from fusion_ln.models.backbones import create_backbone, describe_for_timm
from fusion_ln.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.weights import presets
from fusion_ln.models.weights.fit import body_on_meta, floating
from fusion_ln.models.weights.importer import ImportRequest, _stem_side, import_weights, inspect_weights
from fusion_ln.models.weights.network import Network, read_network
from fusion_ln.models.weights.presets import PRESETS, Preset
from fusion_ln.settings.training import BaselineSettings

SMALL = Preset(
    networks=("test_vit", "test_vit2"),
    normalisation=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    licence="MIT",
    citation="Someone, a year",
    trained_on="a set of theirs",
    arguments={"num_heads": 4},
    sources=("busi",),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of 4 heads, which no tensor tells, wrapped as by a training script."""
    path = tmp_path_factory.mktemp("published") / "w.pth"
    donor = timm.create_model("test_vit", num_classes=3, num_heads=4)
    torch.save({"model": {f"module.{name}": tensor for name, tensor in donor.state_dict().items()}, "epoch": 1}, path)
    return path, donor.eval()


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SMALL)


@pytest.fixture
def imported(tmp_path, published):
    import_weights(published[0], tmp_path / "ours.safetensors", ImportRequest(preset="small"))
    return tmp_path / "ours.safetensors"


def test_an_imported_file_tells_its_network(imported):
    network = read_network(imported)
    assert (network.backbone, network.arguments, network.mean) == ("test_vit", {"num_heads": 4}, (0.1, 0.2, 0.3))
    assert (network.preset, network.licence, network.citation) == ("small", "MIT", "Someone, a year")
    assert network.sources == ("busi",)


def test_imported_weights_answer_as_their_donor(imported, published):
    backbone = create_backbone("test_vit", image_size=160, weights=str(imported)).eval()
    pictures = torch.rand(2, 3, 160, 160)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in SMALL.normalisation)
    donor = published[1]
    with torch.no_grad():
        expected = donor.forward_head(donor.forward_features((pictures - mean) / std), pre_logits=True)
        torch.testing.assert_close(backbone(pictures), expected)


def test_a_checkpoint_of_imported_weights_keeps_heads_and_normalisation(imported, tmp_path):
    fit = FIT.model_copy(update={"backbone": "test_vit", "weights": str(imported)})
    model = build_classifier(fit, 3).eval()
    path = tmp_path / "best.safetensors"
    described = Checkpoint(BaselineSettings(modality="2d", fit=fit), ("a", "b", "c"), fold=0)
    save_checkpoint(path, model.state_dict(), described, model.backbone.network)
    imported.unlink()
    again = load_checkpoint(path)[0]
    assert again.backbone.body.blocks[0].attn.num_heads == 4
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(pictures), model(pictures))
    assert create_backbone("test_vit", image_size=32, weights=str(path)).network == again.backbone.network


def test_a_network_exported_to_timm_keeps_its_arguments(imported):
    described = describe_for_timm(create_backbone("test_vit", image_size=32, weights=str(imported)), 32)
    assert described["model_args"] == {"img_size": 32, "num_heads": 4}
    assert described["pretrained_cfg"]["mean"] == [0.1, 0.2, 0.3]


def test_the_files_own_size_is_kept(published, tmp_path):
    donor = timm.create_model("test_vit", num_classes=0, img_size=64)
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    import_weights(tmp_path / "w.pth", tmp_path / "ours.safetensors", ImportRequest(backbone="test_vit"))
    assert torch.equal(load_file(tmp_path / "ours.safetensors")["pos_embed"], donor.pos_embed)


def test_a_norm_that_was_allowed_to_miss_stays_missing(tmp_path):
    held = timm.create_model("test_vit", num_classes=0).state_dict()
    torch.save({k: v for k, v in held.items() if not k.startswith("norm.")}, tmp_path / "w.pth")
    out = tmp_path / "ours.safetensors"
    import_weights(tmp_path / "w.pth", out, ImportRequest(backbone="test_vit", allowed=("norm",)))
    assert "norm.weight" not in load_file(out)
    body = create_backbone("test_vit", image_size=32, weights=str(out)).body
    assert bool((body.norm.weight == 1).all())


def test_the_network_is_found_where_nobody_names_it(published, monkeypatch):
    monkeypatch.setattr("fusion_ln.models.weights.importer.USUAL", ("test_resnet", "test_vit"))
    monkeypatch.setattr("fusion_ln.models.weights.importer.PAPER_BACKBONES", ())
    monkeypatch.setattr("fusion_ln.models.weights.importer.PRESETS", {})
    name, fit = inspect_weights(published[0], ImportRequest())
    assert (name, fit.total) == ("test_vit", len(list(fit.body.parameters())))


def test_only_networks_with_the_files_first_convolution_are_built(tmp_path, monkeypatch):
    """A deeper network holds the tensors of a shallower one: the deeper is meant."""
    body = timm.create_model("resnet34", num_classes=0)
    save_file(body.state_dict(), tmp_path / "w.safetensors")
    built = []

    def build(name, *rest):
        built.append(name)
        return body_on_meta(name, *rest)

    monkeypatch.setattr("fusion_ln.models.weights.importer.body_on_meta", build)
    name, _ = inspect_weights(tmp_path / "w.safetensors", ImportRequest())
    assert name == "resnet34"
    known = {each for each in built if not each.startswith("test_")}
    assert known == {"resnet152", "resnet18", "resnet34", "resnet50", "resnet101", "densenet121"}


@pytest.mark.parametrize("name", ["densenet121", "convnext_tiny", "efficientnet_b0", "swin_tiny_patch4_window7_224"])
def test_the_side_of_a_first_convolution_is_as_timm_builds_it(name):
    first = next(tensor for tensor in floating(body_on_meta(name, None, {})).values() if tensor.ndim == 4)
    assert _stem_side(name) == first.shape[-1]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_of_networks_that_timm_builds_with_its_arguments(name):
    preset = PRESETS[name]
    for network in preset.networks:
        with torch.device("meta"):
            timm.create_model(network, **preset.arguments)
    assert preset.licence
    assert preset.citation
    assert preset.trained_on
    assert all(0 < value < 1 for channels in preset.normalisation for value in channels)


def test_what_is_assumed_is_printed(published):
    lines = fusionln("weights", "inspect", published[0], "--backbone", "test_vit")
    assert "Taken from: model" in lines
    assert "prefix `module.` taken off" in lines
    assert "Matched:    78 of 78 tensors of test_vit" in lines
    assert "Left over:  head (2)" in lines
    assert "(assumed: timm's for this network, the file does not tell)" in lines
    assert "num_heads=2 (assumed: timm's, the file does not tell)" in lines


def test_an_import_says_what_it_wrote_and_what_comes_next(published, tmp_path):
    out = tmp_path / "w.safetensors"
    options = ("--backbone", "test_vit", "--argument", "num_heads=4", "--mean", "0.2", "--std", "0.1,0.2,0.3")
    lines = fusionln("weights", "import", published[0], *options, "--out", out)
    assert f"Next:       fusionln run fusion --weights {out} --backbone test_vit --image-size 160" in lines
    assert "mean 0.2, 0.2, 0.2, std 0.1, 0.2, 0.3 (as the file or the options tell)" in lines
    network = read_network(out)
    assert (network.arguments, network.std) == ({"num_heads": 4}, (0.1, 0.2, 0.3))
    assert "exists already" in refused("weights", "import", published[0], *options, "--out", out)


def test_an_import_that_cannot_be_is_refused_in_one_message(published, tmp_path):
    path, out = published[0], ("--out", tmp_path / "w.safetensors")
    assert "of which network is not said" in refused("weights", "import", path, *out)
    assert "End it with `.safetensors`" in refused("weights", "import", path, "--out", tmp_path / "w.pth")
    options = ("--as", "usf-mae", "--backbone", "resnet50")
    assert "--as usf-mae: a preset for vit_base_patch16_224" in refused("weights", "import", path, *options, *out)
    assert "0 of 265 tensors match" in refused("weights", "import", path, "--as", "radimagenet", *out)
    options = ("--backbone", "test_vit", "--argument", "num_heads=5")
    assert "cannot be built with num_heads=5" in refused("weights", "import", path, *options, *out)
    options = ("--backbone", "test_vit", "--argument", "heads=5")
    assert "cannot be built with heads=5" in refused("weights", "import", path, *options, *out)
    options = ("--backbone", "test_vit", "--argument", "pretrained=true")
    assert "pretrained is set by the options of a run" in refused("weights", "inspect", path, *options)
    assert "less than or equal to 1" in refused("weights", "inspect", path, "--backbone", "test_vit", "--mean", "123")
    assert "neither one number nor three" in refused("weights", "inspect", path, "--mean", "0.1,0.2")
    assert "Name it with `--backbone NAME`" in refused("weights", "inspect", path, "--allow-missing", "norm")
    assert "above 0" in refused("weights", "inspect", path, "--std", "0")
    assert not out[1].exists()


def test_imported_weights_of_another_network_name_their_own(imported):
    with pytest.raises(WeightsError, match="The file is of test_vit: choose that with `--backbone test_vit`"):
        create_backbone("test_resnet", image_size=32, weights=str(imported))


def test_a_description_that_was_tampered_with_is_refused(imported):
    save_file(load_file(imported), imported, {"fusion_ln.network": '{"backbone": 1}'})
    with pytest.raises(WeightsError, match="the description of its network cannot be read"):
        create_backbone("test_vit", image_size=32, weights=str(imported))


def test_a_preset_by_another_name_gets_the_nearest():
    with pytest.raises(presets.SettingsError, match="Did you mean 'usfm'"):
        presets.find_preset("usmf")


def test_a_network_is_described_and_read_the_same():
    network = Network(backbone="a", arguments={"depths": (1, 2)}, mean=(0, 0, 0), std=(1, 1, 1), missing=("norm.bias",))
    assert Network.model_validate_json(network.model_dump_json()) == network
