"""Large samples by sums: the same distributions as patient by patient, in time that follows the patients."""

import numpy as np
import pytest

from fusion_ln.evaluation.intervals import paired_differences, resample
from fusion_ln.evaluation.limits import large
from fusion_ln.evaluation.significance import permutation_test
from fusion_ln.metrics import score, score_summary
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("a", "b", "c")
N = 4000


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, N, p=[0.3, 0.2, 0.5])
    common, patients = rng.normal(size=(N, 3)), [f"p{i:05d}" for i in range(N)]
    logits = [0.7 * (common + rng.normal(size=(N, 3))) + skill * np.eye(3)[labels] for skill in (1.5, 1.45)]
    return [predictions_from_logits(CLASSES, patients, np.zeros(N, dtype=int), labels, each) for each in logits]


@pytest.fixture
def by_sums(monkeypatch):
    monkeypatch.setattr(large, "LARGE", N)


def test_the_sums_of_a_sample_give_its_metrics(models):
    """Without a patient left out, and with every second one."""
    model = models[0]
    terms = large.terms_of(model.labels, model.probs)
    kept = np.flatnonzero(np.arange(N) % 2 == 0)
    whole, half = score(model.labels, model.probs, CLASSES), score(model.labels[kept], model.probs[kept], CLASSES)
    sums = large.sums_without_groups(terms, np.arange(N), 2)
    halved = score_summary(sums, CLASSES)
    for name, value in half.items():
        if not name.startswith(("auc", "ece")):  # those are of first order, and with the edges of the whole sample
            assert halved[name][1] == pytest.approx(value[0])
    nobody = large.sums_without_groups(terms, np.arange(0), 1)
    assert {k: v[0] for k, v in score_summary(nobody, CLASSES).items()} == pytest.approx(
        {k: v[0] for k, v in whole.items()}
    )


def test_draws_by_sums_spread_and_go_together_as_those_of_patients(models, monkeypatch):
    rows = resample(models, n_resamples=1500, seed=1)
    monkeypatch.setattr(large, "LARGE", N)
    sums = resample(models, n_resamples=20_000, seed=2)
    for by_row, by_sum in zip(rows, sums, strict=True):
        spread = by_row.draws.std(axis=0)
        assert by_sum.draws.std(axis=0) / spread == pytest.approx(1, abs=0.08)
        assert (by_sum.draws.mean(axis=0) - by_row.draws.mean(axis=0)) / spread == pytest.approx(0, abs=0.12)
        assert by_sum.influence == pytest.approx(by_row.influence, abs=0.1 * by_row.influence.std())
    differences = [(a.draws - b.draws).std(axis=0) for a, b in (rows, sums)]
    assert differences[1] / differences[0] == pytest.approx(1, abs=0.08)
    together = [np.corrcoef(each.draws.T) for each in (rows[0], sums[0])]
    assert together[1] == pytest.approx(together[0], abs=0.1)


def test_intervals_and_tests_by_sums_are_those_of_patients(models, monkeypatch):
    a, b = models
    rows = paired_differences(a, b, n_resamples=1500), permutation_test(a, b, n_permutations=1500)
    monkeypatch.setattr(large, "LARGE", N)
    sums = paired_differences(a, b, n_resamples=1500), permutation_test(a, b, n_permutations=1500)
    widths = [(each[0]["ci_high"] - each[0]["ci_low"]).to_numpy() for each in (rows, sums)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1, nan_ok=True)
    assert sums[1]["difference"].tolist() == rows[1]["difference"].tolist()
    for column, place in (("bootstrap_p", 0), ("permutation_p", 1)):
        assert sums[place][column].to_numpy() == pytest.approx(rows[place][column].to_numpy(), abs=0.08)


@pytest.mark.usefixtures("by_sums")
def test_equal_models_do_not_differ_by_sums_either(models):
    table = paired_differences(models[0], models[0], n_resamples=200)
    assert (table["difference"] == 0).all()
    assert (table["bootstrap_p"] == 1).all()
    assert (permutation_test(models[0], models[0], n_permutations=200)["permutation_p"] == 1).all()
