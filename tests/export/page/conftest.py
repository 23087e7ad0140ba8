"""A model whose answers depend on its pictures, with the precision of a page's weights."""

import dataclasses

import pytest
import torch


def for_pages(model):
    """Round the weights as a page keeps them, after making the heads listen to their pictures."""
    with torch.no_grad():
        for one in model.models:
            for member in one.members.values():
                member.head[-1].weight.mul_(30)
            for weights in one.parameters():
                if weights.ndim > 1:
                    weights.copy_(weights.half().float())
    return dataclasses.replace(model, digest=None)


@pytest.fixture(scope="package")
def convolutional(make_model):
    """One model under late fusion, whose maps have several places."""
    return for_pages(make_model("late-mean", side=64))


@pytest.fixture(scope="package")
def efficient(make_model):
    """One model whose networks have a convolution after their last stage."""
    return for_pages(make_model("concat", "test_efficientnet", side=64))


@pytest.fixture(scope="package")
def attending(make_model):
    """Two models with a trained head, whose networks are transformers."""
    return for_pages(make_model("concat", "test_vit", n_models=2))
