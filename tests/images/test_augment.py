import colorsys

import pytest
import torch

from fusion_ln.images.augment import augment


def coloured(red, green, blue):
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(8, 3, 24, 24).clone()


@pytest.mark.parametrize("modality", ["cdfi", "elastic"])
def test_colours_that_are_the_measurement_are_never_changed(modality):
    torch.manual_seed(0)
    centre = augment(coloured(0.8, 0.3, 0.1), modality)[:, :, 8:16, 8:16]  # the border may turn black
    torch.testing.assert_close(centre, coloured(0.8, 0.3, 0.1)[:, :, 8:16, 8:16])


def test_grey_scale_changes_gain_but_never_hue():
    torch.manual_seed(0)
    centres = augment(coloured(0.6, 0.5, 0.4), "2d")[:, :, 12, 12]
    assert centres.std(dim=0).min() > 0.01  # every picture has its own gain
    hues = [colorsys.rgb_to_hsv(*c.tolist())[0] for c in centres]
    assert max(hues) - min(hues) < 1e-3


@pytest.mark.parametrize("modality", ["2d", "cdfi", "elastic"])
def test_depth_still_runs_downwards(modality):
    """A picture bright below stays bright below: never a vertical flip, never more than a small turn."""
    torch.manual_seed(0)
    pictures = torch.zeros(64, 3, 32, 32)
    pictures[:, :, 16:] = 1
    augmented = augment(pictures, modality)
    assert (augmented[:, :, 22:28, 12:20].mean((1, 2, 3)) > augmented[:, :, 4:10, 12:20].mean((1, 2, 3))).all()


def test_about_half_the_pictures_are_mirrored_each_on_its_own():
    torch.manual_seed(0)
    pictures = torch.zeros(400, 3, 16, 16)
    pictures[..., 8:] = 1
    left_is_bright = augment(pictures, "cdfi")[:, 0, 8, 4] > 0.5
    assert 150 < left_is_bright.sum() < 250
