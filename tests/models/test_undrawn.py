"""Models are loaded without the work that a file's weights make needless."""

import pytest
import torch

from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.undrawn import Undrawn


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_networks_that_a_file_fills_are_not_drawn(name):
    before = torch.get_rng_state()
    with Undrawn():
        create_backbone(name, image_size=32)
    assert torch.equal(torch.get_rng_state(), before)
    create_backbone(name, image_size=32)
    assert not torch.equal(torch.get_rng_state(), before)
