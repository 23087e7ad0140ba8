"""Shards: gradients of the whole batch, batch norms of the parts, and the same bytes on any number of cores."""

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from fusion_ln.compute import shards as module
from fusion_ln.compute.shards import in_shards


def small(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), *layers, nn.Flatten(), nn.Linear(8 * 36, 3))


def train(model, n, *, steps=1, batch=8):
    """Train by plain descent; the gradients of the last step, and the weights."""
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped = fabric.setup_module(model)
    torch.manual_seed(1)
    pictures, labels = torch.rand(steps, batch, 3, 8, 8), torch.randint(0, 3, (steps, batch))
    with in_shards(wrapped, model, fabric, n) as learner:
        learner.train()
        for x, y in zip(pictures, labels, strict=True):
            model.zero_grad()
            fabric.backward(F.cross_entropy(learner(x), y))
            gradients = [p.grad.clone() for p in model.parameters()]
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(p.grad, alpha=0.1)
    return gradients, model.state_dict()


@pytest.mark.parametrize("n", [2, 3])
def test_gradients_are_those_of_the_whole_batch(n):
    torch.testing.assert_close(train(small(nn.ReLU()), n, steps=3), train(small(nn.ReLU()), 1, steps=3))


def test_a_batch_norm_sees_its_shard_and_keeps_the_mean_of_the_statistics():
    _, kept = train(small(nn.BatchNorm2d(8)), 2)
    torch.manual_seed(1)
    halves = torch.rand(1, 8, 3, 8, 8)[0].split(4)
    features = [small()[0](half) for half in halves]
    for name, expected in (
        ("mean", sum(0.1 * f.mean((0, 2, 3)) for f in features) / 2),
        ("var", sum(0.9 + 0.1 * f.var((0, 2, 3)) for f in features) / 2),
    ):
        torch.testing.assert_close(kept[f"1.running_{name}"], expected)
    assert kept["1.num_batches_tracked"] == 1


def test_results_are_the_same_bytes_side_by_side_and_one_after_another(monkeypatch):
    beside = train(small(nn.BatchNorm2d(8)), 2, steps=4)
    monkeypatch.setattr(module.torch, "equal", lambda *_: False)  # as if the model had drawn random numbers
    torch.testing.assert_close(train(small(nn.BatchNorm2d(8)), 2, steps=4), beside, rtol=0, atol=0)


def test_a_model_that_draws_random_numbers_is_trained_the_same_twice():
    one, two = (train(small(nn.Dropout(0.5)), 2, steps=6) for _ in range(2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_a_part_that_rests_keeps_weights_and_statistics_in_every_shard():
    model = small(nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    fabric = Fabric(accelerator="cpu", devices=1)
    with in_shards(fabric.setup_module(model), model, fabric, 2) as learner:
        learner.train()
        model[1].eval().requires_grad_(False)
        fabric.backward(learner(torch.rand(8, 3, 8, 8)).sum())
    torch.testing.assert_close(model[1].state_dict(), before, rtol=0, atol=0)
    assert model[1].weight.grad is None
    assert model[0].weight.grad is not None


def test_threads_are_as_before_afterwards():
    torch.set_num_threads(2)
    train(small(), 2)
    assert torch.get_num_threads() == 2
