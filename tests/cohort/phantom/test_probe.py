"""Independent probes: pictures tell no more than their modality's list of findings says."""

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.simulate import simulate_cohort

MODALITIES = ("2d", "cdfi", "elastic")

pytestmark = pytest.mark.slow
N_PATIENTS, N_SHUFFLES = 200, 8


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("probe") / "p", n_patients=N_PATIENTS, image_size=64, seed=7)


@pytest.fixture(scope="module")
def features(cohort):
    """Per modality: the picture in coarse pixels, and how much it varies within each of them. (P, F)."""
    return {
        modality: np.array([describe(cohort, path) for path in cohort.images_of(modality)["path"]])
        for modality in MODALITIES
    }


def describe(cohort, path):
    picture = np.asarray(Image.open(cohort.picture_path(path)), dtype=np.float32)
    blocks = picture.reshape(16, 4, 16, 4, 3)
    return np.concatenate([blocks.mean(axis=(1, 3)).ravel(), blocks.std(axis=(1, 3)).ravel()])


def excess(features, finding, labels, rng):
    """Standard deviations by which a probe tells ``finding`` better than one shuffled within each class."""
    compact = make_pipeline(StandardScaler(), PCA(24, random_state=0, whiten=True)).fit_transform(features)
    given = np.hstack([compact, 3 * np.eye(labels.max() + 1)[labels]])  # what the class itself tells is no news

    def score(levels):
        _, coded = np.unique(levels, return_inverse=True)
        probe = LogisticRegression(C=0.1, max_iter=200)
        probs = cross_val_predict(probe, given, coded, cv=StratifiedKFold(4), method="predict_proba")
        return np.log(probs[np.arange(len(coded)), coded]).mean()

    def shuffled():
        levels = finding.copy()
        for label in np.unique(labels):
            levels[labels == label] = rng.permutation(levels[labels == label])
        return levels

    chance = [score(shuffled()) for _ in range(N_SHUFFLES)]
    return (score(finding) - np.mean(chance)) / np.std(chance, ddof=1)


@pytest.mark.parametrize("modality", MODALITIES)
def test_pictures_tell_the_findings_of_their_list_and_no_other(cohort, features, modality):
    labels, rng = cohort.patients["label"].to_numpy(), np.random.default_rng(0)
    excesses = {
        name: excess(features[modality], cohort.patients[name].to_numpy(), labels, rng) for name in tables().levels
    }
    shown = tables().shown[modality]
    assert all(excesses[name] > 4 for name in shown), excesses  # the probe can see
    assert all(excesses[name] < 3 for name in excesses if name not in shown), excesses


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_trained_probe_stands_above_the_ceiling(cohort, features, modality):
    labels = cohort.patients["label"].to_numpy()
    forest = ExtraTreesClassifier(200, min_samples_leaf=3, random_state=0)
    probs = cross_val_predict(forest, features[modality], labels, cv=StratifiedKFold(4), method="predict_proba")
    auc = roc_auc_score(labels, probs, multi_class="ovr")
    ceiling = cohort.details.attainable.cohort[modality]["auc"]
    assert 0.65 < auc < ceiling + 0.01
