from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from fusion_ln.explain.shortcut.probe import probe_frame
from fusion_ln.explain.shortcut.regions import BURNED_IN, PICTURE
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

N, SIDE = 90, 40


class Folds:
    """The part of a cohort that the probe reads."""

    classes = ("a", "b", "c")
    folds = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(N)], "fold": np.arange(N) % 5})


def frames(rng, *, mark, tells_by_node=False):
    """Noise with a black frame; ``mark`` draws a sign in the tissue's corner that depends on the class."""
    labels, names = rng.permutation(np.arange(N) % 3), np.array([f"P{i:03d}" for i in range(N)])
    pixels = np.zeros((N, 3, SIDE, SIDE), dtype=np.uint8)
    pixels[:, :, 4:36, 4:36] = rng.integers(0, 256, (N, 3, 32, 32))
    regions = np.zeros((N, 1, SIDE, SIDE), dtype=np.uint8)
    regions[:, :, 4:36, 4:36] = PICTURE
    regions[:, :, 28:34, 6:12] |= BURNED_IN
    pixels[:, :, 28:34, 6:12] = 0
    for row, label in enumerate(labels):
        sign = label if mark else rng.integers(3)
        pixels[row, :, 28 + 2 * sign : 30 + 2 * sign, 6:12] = 255
        if tells_by_node:
            pixels[row, label, 15:25, 15:25] = 255
    pictures = gather_pictures({"2d": ImageBank(pixels, names, labels)})
    return pictures, replace(pictures, banks={"2d": ImageBank(regions, names, labels)})


def auc(pictures, regions):
    mean = {"2d": np.full((3, SIDE, SIDE), 100, dtype=np.uint8)}
    return roc_auc_score(
        pictures.labels, softmax(probe_frame(pictures, regions, mean, Folds()), axis=1), multi_class="ovr"
    )


def test_a_planted_corner_mark_is_learnt(rng):
    assert auc(*frames(rng, mark=True)) > 0.95


@pytest.mark.parametrize("tells_by_node", [False, True])
def test_nothing_is_learnt_from_frames_without_information(rng, tells_by_node):
    """Not even if the tissue tells the class: the probe must not see it."""
    assert 0.35 < auc(*frames(rng, mark=False, tells_by_node=tells_by_node)) < 0.65


def test_a_patient_is_predicted_from_the_other_folds_alone(rng):
    """The labels of a fold do not enter its predictions."""
    pictures, regions = frames(rng, mark=True)
    mean = {"2d": np.full((3, SIDE, SIDE), 100, dtype=np.uint8)}
    fold = Folds.folds["fold"].to_numpy() == 0
    labels = pictures.labels.copy()
    labels[fold] = (labels[fold] + 1) % 3
    logits, other = (probe_frame(p, regions, mean, Folds()) for p in (pictures, replace(pictures, labels=labels)))
    np.testing.assert_allclose(logits[fold], other[fold])
