import numpy as np
import pandas as pd
import pytest

from fusion_ln.evaluation.external.differences import (
    compare_classes,
    compare_findings,
    compare_pictures,
    compare_presence,
    predicted_classes,
    set_sizes,
)
from fusion_ln.evaluation.external.profile import FEATURES, measure_pictures, profile_cohort
from fusion_ln.evaluation.limits.shares import share_interval

NAMES = [f"P{n}" for n in range(40)]


def profile(rng, gain=1.0, absent=0, age=50.0):
    """A cohort of forty, some without Doppler."""
    images = pd.DataFrame({"patient_id": NAMES + NAMES[absent:], "modality": ["2d"] * 40 + ["cdfi"] * (40 - absent)})
    pixels = (rng.uniform(0, 200, (40, 1, 1, 1)) * np.ones((1, 3, 8, 8)) * gain).clip(0, 255).astype(np.uint8)
    clinical = pd.DataFrame({"age": age + rng.normal(size=40), "sex": ["f", "m"] * 20})
    features = {"2d": measure_pictures(pixels), "cdfi": measure_pictures(pixels[absent:])}
    return profile_cohort(images, NAMES, ["2d", "cdfi"], features, clinical)


def test_a_gain_shows_in_the_brightness_alone(rng):
    table = compare_pictures(profile(rng), profile(rng, gain=1.5)).set_index(["modality", "feature"])
    assert table.loc[("2d", "brightness"), "difference_low"] > 0
    assert set(table.index.get_level_values("feature")) == set(FEATURES)
    assert np.isnan(table.loc[("2d", "contrast"), "difference"])  # every picture is even


def test_gaps_and_findings_are_compared(rng):
    model, other = profile(rng), profile(rng, absent=10, age=53)
    table = compare_presence(model, other).set_index("pictures")
    assert table.loc["2d", ["n_model", "n_other"]].tolist() == [0, 10]
    assert table.loc["2d", ["share_other_low", "share_other_high"]].tolist() == list(share_interval(10, 40))
    found = compare_findings(model, other).set_index(["finding", "level"])
    assert found.loc[("age", "mean"), "difference"] == pytest.approx(3, abs=1)
    assert found.loc[("sex", "f"), ["model", "other"]].tolist() == [0.5, 0.5]


def test_class_shares_are_compared():
    table = compare_classes({"a": 30, "b": 10}, {"a": 5, "b": 15})
    assert table["share_model"].tolist() == [0.75, 0.25]
    assert table["share_other"].tolist() == [0.25, 0.75]


def test_a_shift_of_prevalence_is_found_without_labels(rng):
    """Probabilities of the exact posterior at the study's shares; the other cohort has other shares."""
    shares, there = np.array([0.5, 0.3, 0.2]), np.array([0.15, 0.25, 0.6])
    labels = rng.choice(3, 2000, p=there)
    findings = rng.normal(size=(2000, 3)) + 2 * np.eye(3)[labels]
    joint = shares * np.exp(2 * findings)  # likelihood of unit normals around 2 x unit vectors
    table = predicted_classes(("a", "b", "c"), joint / joint.sum(axis=1, keepdims=True), shares)
    assert ((table["estimated_low"] <= there) & (there <= table["estimated_high"])).all()
    assert table["estimated"].sum() == pytest.approx(1)


def test_sets_are_counted_by_their_size():
    table = set_sizes(np.array([[True, False], [True, True], [False, False], [True, True]]))
    assert table["n"].tolist() == [1, 1, 2]
