"""Comparison over seeds, from predictions alone."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from fusion_ln.evaluation.delong import delong, p_of_means
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.seeds import PLAIN_FUSION, ModelOverSeeds, SeedComparison
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def predict(rng, skill: float, n: int = 60) -> Predictions:
    labels = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(n)], np.arange(n) % 5, labels, logits)


def auc(predictions: Predictions) -> float:
    return roc_auc_score(predictions.labels, predictions.probs, multi_class="ovr")


@pytest.fixture
def comparison(rng):
    def model(name, skill, inner_auc, **kind):
        runs = {f"seed-{seed}/{name}": predict(rng, skill) for seed in (0, 1)}
        subsets = [{"2d": held, "2d+cdfi": held} for held in runs.values()] if kind.get("is_fusion") else [{}, {}]
        return ModelOverSeeds(name, name, runs, inner_auc, subsets=subsets, **kind)

    models = (
        model("baseline-2d", 1.0, 0.8, is_single=True),
        model("baseline-cdfi", 1.2, 0.7, is_single=True),
        model(PLAIN_FUSION, 1.5, 0.85, is_fusion=True),
        model("fusion-concat", 1.5, 0.9, is_fusion=True),
        model("fusion-late-stacked", 1.5, 0.99, is_fusion=True, learnt_on_inner=True),
    )
    return SeedComparison(models, ("2d", "cdfi"), n_resamples=200)


def test_references_and_candidate_are_chosen_on_inner_validation(comparison):
    names = {heading: model.name for heading, model in comparison.references.items()}
    assert names == {"best single modality": "baseline-2d", "mean of probabilities": PLAIN_FUSION}
    assert comparison.candidate.name == "fusion-concat"


def test_means_and_differences_are_those_of_the_seeds(comparison):
    single, candidate = comparison.models[0], comparison.candidate
    expected = np.array([[auc(held) for held in model.predictions.values()] for model in (single, candidate)])
    mean = comparison.value(candidate, "auc_ovr")
    assert mean.by_seed == pytest.approx(expected[1])
    assert mean.value == pytest.approx(expected[1].mean())
    gap = comparison.difference(candidate, "best single modality", "auc_ovr")
    assert gap.by_seed == pytest.approx(expected[1] - expected[0])
    assert gap.ci_low < gap.difference < gap.ci_high
    assert comparison.difference(single, "best single modality", "auc_ovr") is None


def test_one_comparison_is_primary_and_the_other_fusions_share_holm(comparison):
    rows = comparison.differences
    asked = rows[rows["family"].notna()].set_index(["reference", "model"])
    best, plain = "best single modality", "mean of probabilities"
    assert (asked["metric"] == "auc_ovr").all()
    assert asked["family"].to_dict() == {
        (best, PLAIN_FUSION): "secondary",
        (best, "fusion-concat"): "primary",
        (best, "fusion-late-stacked"): "secondary",
        (plain, "fusion-concat"): "secondary",
        (plain, "fusion-late-stacked"): "secondary",
    }
    secondary = asked[asked["family"] == "secondary"]
    expected = multipletests(secondary["p"], method="holm")[1]
    assert secondary["p_holm"].tolist() == pytest.approx(expected.tolist())
    assert np.isnan(asked.loc[(best, "fusion-concat"), "p_holm"])


def test_delongs_p_of_means_is_that_of_one_seed_and_of_mean_influences(comparison):
    a, b = (next(iter(model.predictions.values())) for model in comparison.models[1:3])
    assert p_of_means(a.labels, *(np.stack([each.probs, each.probs]) for each in (a, b))) == pytest.approx(
        delong(a, b)["p"].to_numpy()
    )
    many = [a, *(next(iter(model.predictions.values())) for model in comparison.models[3:])]
    influence = np.mean([aucs(each.labels, each.probs).macro_influence for each in many], axis=0)
    influence = influence - aucs(b.labels, b.probs).macro_influence
    variance = sum(len(x) * x.var(ddof=1) for x in (influence[a.labels == c] for c in range(3)))
    z = (np.mean([auc(each) for each in many]) - auc(b)) / np.sqrt(variance)
    probs = np.stack([each.probs for each in many])
    assert p_of_means(a.labels, probs, b.probs[None])[-1] == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_only_models_that_read_subsets_have_a_row_of_them(comparison):
    fused = [model for model in comparison.models if model.is_fusion]
    assert comparison.subsets.index.tolist() == [model.title for model in fused]
    expected = np.mean([auc(held) for held in fused[0].predictions.values()])
    assert comparison.subsets.loc[PLAIN_FUSION, "2d+cdfi"] == pytest.approx(expected)
