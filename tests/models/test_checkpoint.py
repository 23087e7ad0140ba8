import torch

from fusion_ln.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fusion_ln.models.classifier import build_classifier
from fusion_ln.settings import BaselineSettings, FitSettings


def test_a_checkpoint_rebuilds_the_model_that_was_saved(tmp_path):
    settings = BaselineSettings(modality="cdfi", fit=FitSettings(backbone="test_vit", image_size=32, head_width=8))
    model = build_classifier(settings.fit, 3).eval()
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    checkpoint = Checkpoint(settings, ("a", "b", "c"), fold=2)
    save_checkpoint(tmp_path / "c.safetensors", model.state_dict(), checkpoint)
    rebuilt, described = load_checkpoint(tmp_path / "c.safetensors")
    assert described == checkpoint
    assert torch.equal(rebuilt(pictures), model(pictures))
