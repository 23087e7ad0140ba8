"""Recorded passes of a network, on a machine with a GPU; elsewhere that they have no effect."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fusion_ln.compute.fabric import make_fabric
from fusion_ln.models.classifier import build_classifier
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.recorded import recorded_passes

FIT = FitSettings(backbone="resnet10t", image_size=32, precision="32-true")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def classifier():
    torch.manual_seed(0)
    return build_classifier(FIT, 3)


def learn(precision, *, wanted, steps=4, side=32):
    """Train on the same batches and return the losses and the model; its rate is small, so that rounding stays so."""
    fabric = make_fabric(DeviceSettings(device="cuda"), precision)
    plain = classifier()
    model, optimizer = fabric.setup(plain, torch.optim.SGD(plain.parameters(), lr=1e-3))
    generator, losses = torch.Generator().manual_seed(1), []
    with recorded_passes(plain, wanted=wanted):
        for _ in range(steps):
            pictures = torch.rand(8, 3, side, side, generator=generator).cuda()
            loss = F.cross_entropy(model(pictures), torch.arange(8).cuda() % 3)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    return losses, plain


def test_passes_are_not_recorded_on_a_cpu():
    model = classifier()
    with recorded_passes(model, wanted=True):
        assert "forward" not in vars(model.backbone)


@on_gpu
@pytest.mark.parametrize(("precision", "error"), [("32-true", 1e-3), ("bf16-mixed", 3e-2)])
def test_recorded_passes_learn_what_plain_ones_do(precision, error):
    recorded, model = learn(precision, wanted=True)
    plain, other = learn(precision, wanted=False)
    assert recorded == pytest.approx(plain, abs=error)
    for own, expected in zip(model.buffers(), other.buffers(), strict=True):  # recording itself moved no statistics
        torch.testing.assert_close(own, expected, atol=error, rtol=error)
    assert "forward" not in vars(model.backbone)


@on_gpu
def test_recording_draws_no_random_number():
    torch.manual_seed(3)
    learn("32-true", wanted=False, steps=1)
    expected = torch.rand(1, device="cuda").item()
    torch.manual_seed(3)
    learn("32-true", wanted=True, steps=1)
    assert torch.rand(1, device="cuda").item() == expected


@on_gpu
def test_batches_of_another_shape_and_validation_are_computed_as_ever():
    model = classifier().cuda()
    with recorded_passes(model, wanted=True):
        model.train()(torch.rand(8, 3, 32, 32, device="cuda")).sum().backward()
        assert model(torch.rand(4, 3, 32, 32, device="cuda")).shape == (4, 3)
        pictures = torch.rand(8, 3, 32, 32, device="cuda")
        asked = model.eval()(pictures)
    torch.testing.assert_close(asked, model(pictures))


@on_gpu
def test_the_memory_of_the_graphs_is_free_after_the_fit():
    learn("32-true", wanted=True, side=256)
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        learn("32-true", wanted=True, side=256)
    assert torch.cuda.memory_reserved() < before + (1 << 24)


class Waiting(nn.Module):
    """A layer that waits for the device, which no graph can."""

    def forward(self, features):
        return features * float(features.mean().item() > -1)


@on_gpu
def test_a_network_that_cannot_be_recorded_is_trained_step_by_step(capsys):
    model = classifier().cuda()
    model.backbone.body.layer1.append(Waiting())
    with recorded_passes(model, wanted=True):
        for _ in range(2):
            model.train()(torch.rand(8, 3, 32, 32, device="cuda")).sum().backward()
    assert "step by step" in capsys.readouterr().err
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
