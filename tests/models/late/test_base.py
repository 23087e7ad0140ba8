import itertools

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from fusion_ln.heads import LATE_HEADS
from fusion_ln.models.late.base import ModalityLogits, load_late_head

LATE = {name: load_late_head(name) for name in LATE_HEADS}


def given(logits, present):
    return ModalityLogits(torch.from_numpy(np.asarray(logits)), torch.from_numpy(np.asarray(present)))


def draw_logits(rng, n=12, m=3, c=3):
    present = rng.random((n, m)) < 0.7
    present[np.arange(n), rng.integers(0, m, n)] = True
    return given(rng.normal(size=(n, m, c)), present)


def fused(head, modality_logits, learnt):
    return softmax(LATE[head].apply(modality_logits, learnt or {}).numpy(), axis=1)


def learnt_by(head, rng):
    return LATE[head].learn(draw_logits(rng, 40), np.arange(40) % 3) if LATE[head].learn else None


def test_mean_of_probabilities_by_hand():
    modality_logits = given(
        np.log([[[0.8, 0.2], [0.4, 0.6]], [[0.8, 0.2], [0.4, 0.6]]]), np.array([[1, 1], [0, 1]]) > 0
    )
    np.testing.assert_allclose(fused("late-mean", modality_logits, None), [[0.6, 0.4], [0.4, 0.6]])


def test_mean_of_logits_is_the_normalised_geometric_mean():
    modality_logits = given(np.log([[[0.8, 0.2], [0.4, 0.6]]]), np.ones((1, 2), dtype=bool))
    product = np.sqrt([0.8 * 0.4, 0.2 * 0.6])
    np.testing.assert_allclose(fused("late-logit", modality_logits, None), [product / product.sum()])


@pytest.mark.parametrize("head", LATE)
def test_a_patient_does_not_depend_on_the_others(head, rng):
    learnt, modality_logits = learnt_by(head, rng), draw_logits(rng)
    alone = [
        fused(head, ModalityLogits(modality_logits.logits[[i]], modality_logits.present[[i]]), learnt)[0]
        for i in range(12)
    ]
    np.testing.assert_allclose(fused(head, modality_logits, learnt), alone)


@pytest.mark.parametrize("head", LATE)
@drawn(noise=arrays(np.float64, (12, 3, 3), elements=st.floats(-50, 50)))
def test_an_absent_modality_cannot_change_the_answer(head, noise):
    rng = np.random.default_rng(1)
    learnt, modality_logits = learnt_by(head, rng), draw_logits(rng)
    disturbed = ModalityLogits(
        torch.where(modality_logits.present[..., None], modality_logits.logits, torch.from_numpy(noise)),
        modality_logits.present,
    )
    np.testing.assert_array_equal(fused(head, disturbed, learnt), fused(head, modality_logits, learnt))


@pytest.mark.parametrize("head", LATE)
def test_the_order_of_modalities_does_not_matter(head, rng):
    """Learnt and applied on modalities in another order, the answer is the same."""
    fit, labels, new = draw_logits(rng, 60), rng.integers(0, 3, 60), draw_logits(rng)
    order = [2, 0, 1]

    def answer(turn):
        turned = ModalityLogits(fit.logits[:, turn], fit.present[:, turn])
        learnt = LATE[head].learn(turned, labels) if LATE[head].learn else None
        return fused(head, ModalityLogits(new.logits[:, turn], new.present[:, turn]), learnt)

    np.testing.assert_allclose(answer(order), answer([0, 1, 2]), atol=1e-4)


@pytest.mark.parametrize("head", ["late-weighted", "late-stacked", "late-calibrated", "late-product"])
def test_what_is_learnt_prefers_the_modality_that_knows(head, rng):
    labels = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3, 3))
    logits[np.arange(200), 1, labels] += 4
    modality_logits = given(logits, np.ones((200, 3), dtype=bool))
    learnt = LATE[head].learn(modality_logits, labels)
    accuracy = [
        (fused(h, modality_logits, learnt if h == head else None).argmax(1) == labels).mean()
        for h in (head, "late-mean")
    ]
    assert accuracy[0] > accuracy[1]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stacking_knows_as_many_classes_as_the_cohort(n_classes, rng):
    labels = np.arange(30) % n_classes
    modality_logits = given(
        np.eye(n_classes)[labels][:, None] + rng.normal(size=(30, 2, n_classes)) * 0.1, np.ones((30, 2)) > 0
    )
    learnt = LATE["late-stacked"].learn(modality_logits, labels)
    probs = fused("late-stacked", modality_logits, learnt)
    assert probs.shape == (30, n_classes)
    assert (probs.argmax(1) == labels).all()


def test_stacking_never_predicts_a_class_that_inner_validation_lacked(rng):
    learnt = LATE["late-stacked"].learn(draw_logits(rng, 20), np.arange(20) % 2)
    assert fused("late-stacked", draw_logits(rng), learnt)[:, 2].max() < 1e-6


def test_temperature_is_the_most_likely_one_and_1_for_a_modality_that_nobody_has(rng):
    labels = rng.integers(0, 3, 120)
    logits = rng.normal(size=(120, 2, 3)) + 2 * np.eye(3)[labels][:, None]
    learnt = LATE["late-product"].learn(given(logits * 3, np.array([[True, False]] * 120)), labels)
    counts = np.bincount(labels) + 1
    grid = np.exp(np.linspace(-2, 3, 2001))
    scores = []
    for temperature in grid:
        probs = softmax(logits[:, 0] * 3 / temperature + np.log(counts / counts.sum()), axis=1)
        scores.append(np.log(probs[np.arange(120), labels]).sum() - np.log(temperature) ** 2 / 2)
    assert learnt["temperatures"] == pytest.approx([grid[np.argmax(scores)], 1], rel=0.01)
    assert np.exp(learnt["log_prior"]).sum() == pytest.approx(1)


def test_product_of_exact_experts_is_the_posterior():
    """Two readings, independent given the class; an expert's logits are the log-likelihoods of its reading."""
    prior, shares = (
        np.array([0.5, 0.3, 0.2]),
        [np.array([[0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])] * 2,
    )  # P(reading | class)
    learnt = {"temperatures": [1.0, 1.0], "log_prior": np.log(prior).tolist()}
    readings = [(0, 0), (0, 1), (1, 1)]
    logits = np.array([[np.log(of[:, r]) for of, r in zip(shares, pair, strict=True)] for pair in readings])
    joint = np.array([[prior[c] * shares[0][c, a] * shares[1][c, b] for c in range(3)] for a, b in readings])
    present = np.ones((3, 2), dtype=bool)
    np.testing.assert_allclose(
        fused("late-product", given(logits, present), learnt), joint / joint.sum(1, keepdims=True)
    )
    alone = [prior * shares[0][:, a] for a, _ in readings]
    expected = np.array(alone) / np.sum(alone, axis=1, keepdims=True)
    np.testing.assert_allclose(fused("late-product", given(logits, present & [True, False]), learnt), expected)


def test_dempsters_rule_is_that_of_masses_on_sets(rng):
    """Masses of single classes and of all of them; the mass of two sets goes to their intersection."""
    modality_logits, whole = draw_logits(rng), frozenset(range(3))
    expected = []
    for logits, present in zip(modality_logits.centred.numpy(), modality_logits.present.numpy(), strict=True):
        joint = {whole: 1.0}
        for evidence in np.exp(logits[present]):
            strength = evidence.sum() + 3
            masses = {frozenset([c]): evidence[c] / strength for c in range(3)} | {whole: 3 / strength}
            joined = dict.fromkeys([*masses], 0.0)
            for (one, mass), (other, share) in itertools.product(joint.items(), masses.items()):
                if one & other:
                    joined[one & other] += mass * share
            joint = {key: mass / sum(joined.values()) for key, mass in joined.items()}
        expected.append([joint[frozenset([c])] + joint[whole] / 3 for c in range(3)])
    learnt = {"temperatures": [1.0] * 3, "log_prior": [0.0] * 3}
    np.testing.assert_allclose(fused("late-evidential", modality_logits, learnt), expected)
