"""Draws are remembered by all that they depend on, and nothing else is taken for them."""

import numpy as np
import pytest

from fusion_ln.evaluation.limits import remembered as module
from fusion_ln.evaluation.limits.remembered import forget, remembered
from fusion_ln.evaluation.limits.resampled import draw_metrics
from fusion_ln.metrics import METRICS

CLASSES = ("a", "b")


@pytest.fixture(autouse=True)
def empty():
    forget()
    yield
    forget()


def model(seed, n=40):
    probs = np.random.default_rng(seed).dirichlet([1, 1], n)
    return np.arange(n) % 2, probs


def drawn(labels, probs, *, n=30, seed=0, clusters=None):
    return draw_metrics(labels, probs, CLASSES, METRICS, clusters, n, seed)


def test_a_model_draws_the_same_alone_beside_another_and_once_more():
    labels, a = model(0)
    b = model(1)[1]
    alone, (beside, _), again = drawn(labels, [a]), drawn(labels, [a, b]), drawn(labels, [a])
    forget()
    anew = drawn(labels, [b, a])[1]
    for other in (beside, again[0], anew):
        np.testing.assert_array_equal(alone[0][0], other[0])
        np.testing.assert_array_equal(alone[0][1], other[1])


def test_only_models_that_are_not_remembered_are_drawn():
    asked = []

    def draw(some):
        asked.append(len(some))
        return [(own, own) for own in some]

    a, b = np.zeros(3), np.ones(3)
    remembered([a], ["x"], draw)
    remembered([a, b], ["x"], draw)
    remembered([b, a], ["x"], draw)
    remembered([a], ["y"], draw)
    assert asked == [1, 1, 1]


def test_other_labels_seeds_and_numbers_of_draws_are_drawn_anew():
    labels, a = model(0)
    first = drawn(labels, [a])[0][0]
    assert not np.array_equal(drawn(labels, [a], seed=1)[0][0], first)
    assert not np.array_equal(drawn(1 - labels, [a])[0][0], first)
    assert drawn(labels, [a], n=20)[0][0].shape[0] == 20
    assert not np.array_equal(drawn(labels, [a], clusters=np.arange(40) // 2)[0][0], first)


def test_the_oldest_draws_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "MODELS", 2)
    for seed in range(3):
        remembered([np.full(2, seed)], [], lambda some: [(own, own) for own in some])
    assert [int(own[0]) for own, _ in module._recent.values()] == [1, 2]
