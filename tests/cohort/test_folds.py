import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_ln.cohort.folds import draw_folds
from fusion_ln.errors import CohortError


def patients_of(counts, sites=None):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"P{number:03d}" for number in range(len(labels))]
    site = np.resize(sites or [""], len(labels))
    return pd.DataFrame({"patient_id": names, "label": labels, "site": site})


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(6, 40), min_size=2, max_size=4), k=st.integers(2, 6), seed=st.integers(0, 2**32 - 1))
def test_every_patient_is_held_out_once_and_never_validates_that_fold(counts, k, seed):
    patients = patients_of(counts)
    folds = draw_folds(patients, k=k, seed=seed)
    assert folds["patient_id"].tolist() == patients["patient_id"].tolist()
    assert set(folds["fold"]) == set(range(k))
    for fold in range(k):
        inner = folds[f"inner_{fold}"]
        assert not inner[folds["fold"] == fold].any()
        for label, count in enumerate(counts):
            training = (folds["fold"] != fold) & (patients["label"] == label)
            chosen = (inner & training).sum()
            assert chosen == max(1, round(0.15 * training.sum()))  # 15 % of each class, at least one
            held_out = count - training.sum()
            assert held_out in (count // k, -(-count // k))  # stratified to within one patient


def test_same_seed_gives_same_folds_whatever_the_order_of_the_table():
    patients = patients_of([20, 30])
    shuffled = patients.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(draw_folds(patients, seed=5), draw_folds(shuffled, seed=5))
    assert not draw_folds(patients, seed=5).equals(draw_folds(patients, seed=6))


def test_site_folds_hold_out_one_site_each():
    patients = patients_of([12, 12], sites=["Harbin", "Changchun", "Jilin"])
    folds = draw_folds(patients, by_site=True)
    assert folds.groupby("fold")["patient_id"].count().tolist() == [8, 8, 8]
    assert [len(set(sites)) for _, sites in patients["site"].groupby(folds["fold"])] == [1, 1, 1]


@pytest.mark.parametrize(
    ("counts", "arguments", "problem", "way_out"),
    [
        ([10, 3], {"k": 5}, "class 'malignant' has 3 patients, fewer than the 5 folds", "--folds 3"),
        ([10, 1], {"k": 5}, "class 'malignant' has 1 patient,", "leave the class out."),
        ([10, 0], {"k": 5}, "class 'malignant' has 0 patients", "Add patients"),
        ([10, 10], {"k": 1}, "at least 2 are needed", ""),
        ([10, 10], {"by_site": True}, "at least two sites; the cohort names none", "--folds 5"),
    ],
)
def test_folds_that_cannot_be_drawn_are_refused(counts, arguments, problem, way_out):
    with pytest.raises(CohortError) as caught:
        draw_folds(patients_of(counts), **arguments, classes=("benign", "malignant"))
    assert problem in caught.value.problem
    assert way_out in caught.value.way_out


def test_a_class_that_only_one_site_has_cannot_be_held_out_with_it():
    patients = pd.DataFrame(
        {"patient_id": list("abcdef"), "label": [0, 0, 0, 0, 1, 1], "site": ["A", "A", "B", "B", "B", "B"]}
    )
    with pytest.raises(CohortError, match="fewer than 2 patients outside site 'B'"):
        draw_folds(patients, by_site=True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(2, 5))
def test_the_nodes_of_a_patient_stay_together_in_folds_that_hold_every_class(seed, k):
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    labels = np.where(rng.random(len(owners)) < 0.6, owners % 3, rng.integers(0, 3, len(owners)))
    names = [f"P{owner:02d}::{node}" for node, owner in enumerate(owners)]
    patients = pd.DataFrame({"patient_id": names, "label": labels, "site": ""})
    folds = draw_folds(patients, k=k, seed=seed)
    parts = folds.drop(columns="patient_id").to_numpy(dtype=int)
    assert all((parts[owners == owner] == parts[owners == owner][0]).all() for owner in range(60))
    for fold in range(k):
        held_out, inner = folds["fold"] == fold, folds[f"inner_{fold}"]
        assert not (held_out & inner).any()
        for part in (held_out, inner, ~held_out & ~inner):
            assert set(labels[part]) == {0, 1, 2}
        share = len(set(owners[inner])) / len(set(owners[~held_out]))
        assert 0.08 < share < 0.3


def test_trainings_on_nodes_hold_every_class_or_are_refused():
    rng, problems, n_drawn = np.random.default_rng(0), "", 0
    for seed in range(60):
        owners = np.repeat(np.arange(9), rng.integers(1, 5, 9))
        labels = np.where(owners < 3, rng.integers(0, 2, len(owners)), 0)  # the rare class has at most three patients
        names = [f"P{owner}::{node:02d}" for node, owner in enumerate(owners)]
        try:
            folds = draw_folds(pd.DataFrame({"patient_id": names, "label": labels, "site": ""}), k=2, seed=seed)
        except CohortError as error:
            problems += error.problem
            continue
        n_drawn += 1
        for fold in range(2):
            held_out, inner = folds["fold"] == fold, folds[f"inner_{fold}"]
            assert set(labels[held_out]) == set(labels[~held_out & ~inner]) == set(labels)
    assert n_drawn > 5
    assert "has no node in the training part of fold 1: its nodes lie in too few patients" in problems


def test_sites_are_counted_by_patient():
    rows = [(f"P{number:02d}::1", number % 2, "AB"[number // 2 % 2]) for number in range(12)]
    rows = [row for row in rows if row[1:] != (1, "B")] + [("Q::1", 1, "B"), ("Q::2", 1, "B")]
    with pytest.raises(CohortError, match="fewer than 2 patients outside site 'A'"):
        draw_folds(pd.DataFrame(rows, columns=["patient_id", "label", "site"]), by_site=True)
