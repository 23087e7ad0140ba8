import pytest
import timm
import torch
from safetensors.torch import save_file

from fusion_ln.errors import WeightsError
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.checkpoint import Checkpoint, save_checkpoint
from fusion_ln.models.classifier import build_classifier
from fusion_ln.settings import BaselineSettings, FitSettings
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


def test_imagenet_weights_that_cannot_be_downloaded_say_where_to_put_the_file(monkeypatch):
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
