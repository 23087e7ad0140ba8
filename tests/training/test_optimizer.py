"""A backbone learns at rates that fall from layer to layer, or not at all in the first epochs."""

import pytest
import torch
from tiny import CPU, FIT

from fusion_ln.compute.fabric import make_fabric
from fusion_ln.errors import SettingsError
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.classifier import build_classifier
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.fit import fit
from fusion_ln.training.optimizer import build_optimizer, drop_gradients, layer_rates, resting, resting_backbone
from fusion_ln.training.tasks import PictureTask


def rates_of(model, settings):
    """The rate of every parameter by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, settings, layer_rates(model.backbone, settings))
    return {names[id(each)]: group["lr"] for group in optimizer.param_groups for each in group["params"]}


def test_the_rate_falls_from_block_to_block_and_the_head_learns_at_all_of_it():
    settings = FitSettings(backbone="test_vit", image_size=32, lr=0.01, layer_decay=0.5)
    model = build_classifier(settings, 3)
    rates = rates_of(model, settings)
    assert rates.keys() == dict(model.named_parameters()).keys()
    depth = len(model.backbone.body.blocks)
    for number in range(depth):
        expected = 0.01 * 0.5 ** (depth - number)  # BEiT's rule: the head at 1, each layer below at half
        assert rates[f"backbone.body.blocks.{number}.attn.qkv.weight"] == pytest.approx(expected)
    assert rates["backbone.body.patch_embed.proj.weight"] == pytest.approx(0.01 * 0.5 ** (depth + 1))
    assert rates["head.0.weight"] == 0.01


def test_without_a_decay_there_is_one_group():
    model = build_classifier(FIT, 3)
    assert len(build_optimizer(model, FIT, layer_rates(model.backbone, FIT)).param_groups) == 1


def test_a_decay_is_refused_where_no_layers_are_known(monkeypatch):
    backbone = create_backbone("test_resnet", image_size=32)
    monkeypatch.setattr(type(backbone.body), "group_matcher", lambda body, coarse=False: {"all": "."})
    with pytest.raises(SettingsError, match="timm knows no layers of this backbone"):
        backbone.layer_rates(0.5)


class Batch:
    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.pictures = torch.randint(0, 255, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
        self.labels, self.patients = torch.tensor([0, 1, 2, 0]), ["a", "b", "c", "d"]


class Loader:
    batch_size = 4

    def __len__(self):
        return 1

    def shuffled(self, epoch):
        return iter([Batch()])


def moved(tmp_path, epochs, frozen_epochs):
    """Names of the tensors that training changed."""
    settings = FIT.model_copy(update={"epochs": epochs, "frozen_epochs": frozen_epochs, "weight_decay": 0.1})
    torch.manual_seed(0)
    model = build_classifier(settings, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rests = resting_backbone(model.backbone, settings)
    fabric = make_fabric(CPU, "32-true")
    task = PictureTask("2d", model)
    result = fit(
        task, Loader(), None, settings=settings, seed=0, fabric=fabric, folder=tmp_path, stop=epochs, rests=rests
    )
    assert all(parameter.requires_grad for parameter in model.parameters())
    return {name for name, tensor in result.weights.items() if not torch.equal(tensor, before[name])}


def test_the_backbone_rests_in_the_first_epochs_its_statistics_too(tmp_path):
    assert moved(tmp_path / "resting", 2, 2) == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
    later = moved(tmp_path / "later", 2, 1)
    assert {"backbone.body.conv1.0.weight", "backbone.body.bn1.running_mean"} <= later


def test_several_processes_drop_the_gradients_that_they_share():
    """None of them may leave one out: each waits for all."""
    model = build_classifier(FIT, 3)
    with resting(model.backbone, alone=False):
        model(torch.rand(2, 3, 32, 32)).sum().backward()
        assert model.backbone.body.conv1[0].weight.grad is not None
        drop_gradients(model.backbone)
    assert model.backbone.body.conv1[0].weight.grad is None
    assert model.head[0].weight.grad is not None
