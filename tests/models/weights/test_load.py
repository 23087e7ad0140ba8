import pytest
import timm
import torch
from safetensors.torch import save_file

from fusion_ln.errors import WeightsError
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.checkpoint import Checkpoint, save_checkpoint
from fusion_ln.models.classifier import build_classifier
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.terms import cache_folder


def assert_same_weights(loaded, donor):
    """All tensors of the network without its classifier are the donor's."""
    assert loaded.state_dict()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, donor.state_dict()[name])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file_arrive_in_the_network(tmp_path, suffix):
    donor = timm.create_model("test_vit", num_classes=7, img_size=48)  # another head and another size, as ImageNet's
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(donor.state_dict(), path)
    else:
        save_file(donor.state_dict(), path)
    backbone = create_backbone("test_vit", image_size=48, weights=str(path))
    assert_same_weights(backbone.body, donor)


def test_imagenet_weights_are_found_where_the_message_says_to_put_them(tmp_path):
    donor = timm.create_model("test_resnet")
    path = cache_folder() / "weights" / "test_resnet.safetensors"
    path.parent.mkdir(parents=True)
    save_file(donor.state_dict(), path)
    backbone = create_backbone("test_resnet", image_size=32, weights="imagenet")
    assert_same_weights(backbone.body, donor)


def test_imagenet_weights_out_of_reach_say_where_to_put_the_file(monkeypatch):
    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(WeightsError, match=r"weights/test_resnet\.safetensors"):
        create_backbone("test_resnet", image_size=32, weights="imagenet")


def test_our_own_checkpoint_serves_as_weights(tmp_path):
    fit = FitSettings(backbone="test_resnet", image_size=32)
    model = build_classifier(fit, 3)
    path = tmp_path / "best.safetensors"
    save_checkpoint(
        path, model.state_dict(), Checkpoint(BaselineSettings(modality="2d", fit=fit), ("a", "b", "c"), fold=0)
    )
    backbone = create_backbone("test_resnet", image_size=32, weights=str(path))
    assert_same_weights(backbone.body, model.backbone.body)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(WeightsError, match="not weights of test_vit"):
        create_backbone("test_vit", image_size=32, weights=str(path))


def test_a_file_that_is_no_weight_file_is_refused(tmp_path):
    path = tmp_path / "notes.pth"
    path.write_text("hello")
    with pytest.raises(WeightsError, match=r"notes\.pth"):
        create_backbone("test_resnet", image_size=32, weights=str(path))
    with pytest.raises(WeightsError, match="no such weight file"):
        create_backbone("test_resnet", image_size=32, weights=str(tmp_path / "absent.pth"))


def test_a_file_of_other_objects_is_refused_without_advice_to_run_it(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(timm.create_model("test_resnet"), path)  # the network itself, not its state dictionary
    with pytest.raises(WeightsError, match="could run code") as error:
        create_backbone("test_resnet", image_size=32, weights=str(path))
    assert "weights_only" not in str(error.value)
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"cut\.safetensors: damaged"):
        create_backbone("test_resnet", image_size=32, weights=str(tmp_path / "cut.safetensors"))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_without_the_norms_tensors_is_refused(tmp_path, name, suffix):
    """They are vectors that begin as ones and zeros: a network would keep them as drawn, without a word."""
    weights = timm.create_model(name).state_dict()
    kept = {key: tensor for key, tensor in weights.items() if "norm" not in key and "bn" not in key}
    assert len(kept) < len(weights)
    path = tmp_path / f"weights{suffix}"
    torch.save(kept, path) if suffix == ".pth" else save_file(kept, path)
    with pytest.raises(WeightsError, match=r"\d+ of \d+ tensors match; it lacks .*(norm|bn)"):
        create_backbone(name, image_size=160 if name == "test_vit" else 32, weights=str(path))


def test_a_single_vector_that_is_missing_is_named(tmp_path):
    weights = timm.create_model("test_resnet").state_dict()
    del weights["bn1.running_var"]
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"it lacks bn1\.running_var\)"):
        create_backbone("test_resnet", image_size=32, weights=str(tmp_path / "weights.safetensors"))


def test_a_norm_that_the_network_has_no_place_for_is_not_dropped(tmp_path):
    weights = timm.create_model("test_vit").state_dict()
    weights["fc_norm.weight"] = 2 * weights["norm.weight"]
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"fc_norm\.weight has no place in the network"):
        create_backbone("test_vit", image_size=160, weights=str(tmp_path / "weights.safetensors"))


def test_weights_of_another_size_are_complete_after_timm_has_fitted_them(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "weights.safetensors")
    assert create_backbone("test_vit", image_size=48, weights=str(tmp_path / "weights.safetensors"))


def test_a_variance_below_zero_is_refused(tmp_path):
    weights = timm.create_model("test_resnet").state_dict()
    name = next(name for name in weights if name.endswith("running_var"))
    weights[name][1] = -0.5
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=rf"{name} holds variances below 0"):
        create_backbone("test_resnet", image_size=32, weights=str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("n_places", [51, 200])  # 5 x 10 and the class token; 10 x 20 without
def test_a_position_table_of_no_square_is_refused(tmp_path, n_places):
    weights = timm.create_model("test_vit").state_dict()
    weights["pos_embed"] = torch.zeros(1, n_places, weights["pos_embed"].shape[-1])
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=rf"pos_embed has {n_places} places, which are no square grid"):
        create_backbone("test_vit", image_size=48, weights=str(tmp_path / "weights.safetensors"))


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    weights = timm.create_model("test_resnet").state_dict()
    weights["conv1.0.weight" if "conv1.0.weight" in weights else "conv1.weight"][0] = float("nan")
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"conv1.*not finite numbers"):
        create_backbone("test_resnet", image_size=32, weights=str(tmp_path / "weights.safetensors"))
