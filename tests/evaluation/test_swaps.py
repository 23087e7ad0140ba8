import itertools

import numpy as np
import pytest
from scipy.special import logit, softmax

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation import swaps
from fusion_ln.evaluation.delong import delong, p_of_means
from fusion_ln.evaluation.swaps import p_of_swaps, swap_test
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])


def model(rng: np.random.Generator, n: int = 45, skill: float = 1.0, classes: tuple[str, ...] = CLASSES) -> Predictions:
    labels = np.arange(n) % len(classes)
    logits = rng.normal(size=(n, len(classes))) + skill * np.eye(len(classes))[labels]
    return predictions_from_logits(classes, [f"P{i:03d}" for i in range(n)], np.zeros(n), labels, logits)


def coarse(rng: np.random.Generator, n_seeds: int) -> np.ndarray:
    """Probabilities of eight steps, so that ties happen."""
    probs = rng.integers(1, 9, (n_seeds, len(LABELS), 3)).astype(float) + 3 * np.eye(3)[LABELS]
    return probs / probs.sum(axis=-1, keepdims=True)


def share_of_all_swaps(a: np.ndarray, b: np.ndarray) -> list[float]:
    """The definition: DeLong's z of every way to swap, pair by pair; ties count half."""
    found = np.abs([z_by_pairs(a, b, swap) for swap in itertools.product([0, 1], repeat=len(LABELS))])
    above, alike = found > found[0] + 1e-9, np.abs(found - found[0]) <= 1e-9
    return (above.mean(axis=0) + alike.mean(axis=0) / 2).tolist()


def z_by_pairs(a: np.ndarray, b: np.ndarray, swap: tuple[int, ...]) -> list[float]:
    influences, gaps, z = [], [], []
    for c in range(3):
        influence, gap = np.zeros(len(LABELS)), 0.0
        ins, outs = np.flatnonzero(c == LABELS), np.flatnonzero(c != LABELS)
        for seed, half in itertools.product(range(len(a)), (0, 1)):
            answers = [a[seed, :, c].tolist(), b[seed, :, c].tolist()]
            scaled = [((own - own.mean()) / own.std()).tolist() for own in map(logit, np.array(answers))]
            whose = [half ^ each for each in swap]  # answers of which model stand in this half
            wins = np.array([[point(*pick(answers, scaled, whose, i, j)) for j in outs] for i in ins])
            wins = wins * (1, -1)[half] / len(a)
            gap += wins.mean()
            influence[ins] += (wins.mean(axis=1) - wins.mean()) / len(ins)
            influence[outs] += (wins.mean(axis=0) - wins.mean()) / len(outs)
        z.append(standardise(gap, influence, c == LABELS))
        influences.append(influence)
        gaps.append(gap)
    return [*z, standardise(np.mean(gaps), np.mean(influences, axis=0), LABELS)]


def pick(answers: list, scaled: list, whose: list[int], i: int, j: int) -> tuple[float, float]:
    """Pick two patients' answers: as they are where one model gave them, else standardised."""
    held = answers if whose[i] == whose[j] else scaled
    return held[whose[i]][i], held[whose[j]][j]


def point(x: float, y: float) -> float:
    return (x > y) + 0.5 * (x == y)


def standardise(gap: float, influence: np.ndarray, groups: np.ndarray) -> float:
    parts = [influence[groups == g] for g in np.unique(groups)]
    variance = sum(len(x) * x.var(ddof=1) for x in parts)
    return gap / np.sqrt(variance) if variance > 1e-12 else (0.0 if abs(gap) < 1e-12 else 1e9)


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_p_values_are_those_of_all_swaps(rng, n_seeds):
    """Nine patients have 512 ways to swap: enough to count them all."""
    a, b = coarse(rng, n_seeds), coarse(rng, n_seeds)
    assert p_of_swaps(LABELS, a, b, n_swaps=20_000) == pytest.approx(share_of_all_swaps(a, b), abs=0.015)


def test_the_level_is_kept_where_delongs_test_hardly_rejects(rng):
    labels, rejected = np.arange(45) % 3, np.zeros(2)
    for seed in range(200):
        logits = rng.normal(size=(2, 1, 45, 3)) + 2.6 * np.eye(3)[labels]
        pair = softmax(logits, axis=-1)
        p_values = p_of_swaps(labels, *pair, n_swaps=99, seed=seed)[-1], p_of_means(labels, *pair)[-1]
        rejected += np.array(p_values) <= 0.05
    assert rejected[1] <= 3
    assert 5 <= rejected[0] <= 16


def test_models_that_differ_in_scale_alone_are_alike(rng):
    a = model(rng)
    b = predictions_from_logits(CLASSES[:2], a.patients, a.folds, a.labels % 2, a.logits[:, :2])
    scaled = predictions_from_logits(CLASSES[:2], a.patients, a.folds, a.labels % 2, 3 * a.logits[:, :2] + 1)
    for one, other in ((a, a), (b, b), (b, scaled)):
        assert swap_test([one], [other], n_swaps=50).tolist() == [1] * (len(one.classes) + 1)


def test_scale_and_offset_of_a_model_do_not_count(rng):
    a, b = model(rng, classes=CLASSES[:2]), model(rng, classes=CLASSES[:2])
    moved = predictions_from_logits(b.classes, b.patients, b.folds, b.labels, 2 * b.logits + np.array([0, 1]))
    assert swap_test([a], [moved]).tolist() == swap_test([a], [b]).tolist()


def test_p_values_follow_from_the_seed_and_neither_from_order_nor_blocks(rng, monkeypatch):
    a, b = model(rng), model(rng)
    found = swap_test([a], [b], seed=3).tolist()
    assert found != swap_test([a], [b], seed=4).tolist()
    assert swap_test([b], [a], seed=3).tolist() == found
    assert min(swap_test([model(rng, skill=9)], [b])) > 0
    monkeypatch.setattr(swaps, "_BLOCK", 1000)
    assert swap_test([a], [b], seed=3).tolist() == found


def test_all_nodes_of_a_patient_are_swapped_together(rng):
    a, b = model(rng), model(rng)
    twice = np.repeat(np.arange(45), 2)
    nodes = [each.probs[twice][None] for each in (a, b)]
    of_nodes = p_of_swaps(a.labels[twice], *nodes, clusters=twice)
    assert of_nodes == pytest.approx(swap_test([a], [b]), abs=1e-9)


def test_a_large_sample_has_delongs_normal_p(rng, monkeypatch):
    a, b = model(rng), model(rng)
    monkeypatch.setattr(swaps, "SWAPPED_UP_TO", 44)
    assert swap_test([a], [b]) == pytest.approx(delong(a, b)["p"].to_numpy())
    assert swaps.name_test(45) == "DeLong’s test"
    assert "10,000 times" in swaps.name_test(44)
    assert swaps.name_test(44, 45) == f"{swaps.name_test(44)}; of more than 44 DeLong’s test"


def test_with_two_classes_every_auc_has_one_p(rng):
    a, b = model(rng, classes=CLASSES[:2]), model(rng, classes=CLASSES[:2])
    assert len(set(swap_test([a], [b]).tolist())) == 1


def test_a_class_of_one_patient_is_refused(rng):
    whole = model(rng)
    few = whole.of([p for p, label in zip(whole.patients, whole.labels, strict=True) if label or p == "P000"])
    with pytest.raises(PredictionsError, match="at least 2 of each class"):
        swap_test([few], [few])
