"""Networks and heads are refused before anything is prepared, by shapes alone."""

import pytest
import torch

from fusion_ln.errors import SettingsError
from fusion_ln.models import rehearsal
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.rehearsal import check_head, check_network, check_tokens, rehearse
from fusion_ln.models.weights.network import Network
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings


def fit(backbone, size=32, **changes):
    return FitSettings(backbone=backbone, image_size=size, **changes)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_mambaout"])
def test_a_rehearsal_finds_what_pictures_would_give(name):
    backbone = create_backbone(name, image_size=64).eval()
    tokens = backbone.tokens(backbone.feature_map(torch.rand(2, 3, 64, 64)), 2)
    assert rehearse(name, 64, 2).tokens == tuple(tokens.shape[1:])
    assert rehearse(name, 64, 2).problem == ""


def test_a_rehearsal_draws_nothing_from_the_seed():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    rehearse.__wrapped__("test_vit", 32)
    check_head({"2d": fit("test_vit"), "cdfi": fit("test_vit")}, HeadSettings(width=8), 3)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("name", "own"), [("halonet_h1", 256), ("crossvit_tiny_240", 240), ("efficientformer_l1", 224)]
)
def test_a_size_that_a_network_does_not_take_is_refused_with_one_it_takes(name, own, monkeypatch):
    monkeypatch.setattr(rehearsal, "TRIED_SIZES", ())
    with pytest.raises(SettingsError, match=rf"{name}: takes no pictures of 96 x 96 pixels") as refusal:
        check_network(name, 96)
    assert f"Give `--image-size {own}`, or another that it takes ({own})" in str(refusal.value)


def test_a_network_without_tokens_suits_late_heads_alone():
    check_network("coat_tiny", 64)
    with pytest.raises(SettingsError, match="coat_tiny: keeps no features of places in the picture"):
        check_tokens({"2d": fit("coat_tiny", 64)}, HeadSettings())


def test_networks_of_unlike_tokens_are_refused_together():
    with pytest.raises(SettingsError, match=r"different tokens \(2d 1 of 96, cdfi 4 of 64\)"):
        check_tokens({"2d": fit("test_resnet"), "cdfi": fit("test_vit")}, HeadSettings())


def test_pretrained_tokens_of_weights_that_lack_tensors_are_refused(monkeypatch):
    """What a file lacks is drawn by each loading: the head would be asked with other tokens than it learnt from."""
    partial = Network(backbone="test_vit", mean=(0, 0, 0), std=(1, 1, 1), missing=("norm.weight",))
    monkeypatch.setattr("fusion_ln.models.rehearsal.known_network", lambda weights: partial)
    with pytest.raises(SettingsError, match=r"x lacks tensors of test_vit \(norm.weight\)"):
        check_tokens({"2d": fit("test_vit", weights="x")}, HeadSettings(tokens="pretrained"))


def test_pretrained_tokens_of_networks_from_scratch_are_refused():
    with pytest.raises(SettingsError, match=r"--tokens pretrained: the baselines \(2d\) are trained from scratch"):
        check_tokens({"2d": fit("test_vit"), "cdfi": fit("test_vit", weights="x")}, HeadSettings(tokens="pretrained"))
