import numpy as np
import pandas as pd
import pytest

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.nodes import SAME_CLASS, draw_nodes
from fusion_ln.cohort.phantom.patients import draw_patients
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.cohort.phantom.truth import load_truth
from fusion_ln.units import number_patients


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Many patients, and their nodes."""
    patients = draw_patients(4000, ["A", "B"], np.random.default_rng(0))
    return patients, draw_nodes(patients, 3, np.random.default_rng(1))


def test_the_first_node_is_the_patient_and_what_is_the_patients_stays(drawn):
    patients, nodes = drawn
    owners = number_patients(nodes["patient_id"])
    first = nodes[nodes["patient_id"].str.endswith("::1")].reset_index(drop=True)
    pd.testing.assert_frame_equal(first.drop(columns="patient_id"), patients.drop(columns="patient_id"))
    shared = ["site", "age", "sex", "smoking"]
    assert nodes[shared].equals(patients[shared].iloc[owners].reset_index(drop=True))
    assert np.bincount(np.bincount(owners)).tolist()[1:] == pytest.approx([4000 / 3] * 3, rel=0.07)


def test_findings_given_the_class_stay_as_the_tables_say(drawn):
    nodes, law = drawn[1], tables()
    shares = nodes["label"].value_counts(normalize=True).sort_index()
    np.testing.assert_allclose(shares, law.prevalence, atol=0.02)
    for name, expected in law.shares.items():
        for label in range(3):
            found = nodes.loc[nodes["label"] == label, name].value_counts(normalize=True)
            np.testing.assert_allclose(found.reindex(law.levels[name], fill_value=0), expected[label], atol=0.04)


def test_nodes_of_a_patient_are_alike_beyond_their_class(drawn):
    nodes = drawn[1]
    owners = pd.Series(number_patients(nodes["patient_id"]))
    second = nodes["patient_id"].str.endswith("::2").to_numpy()
    first = nodes.groupby(owners).first().loc[owners[second]].reset_index(drop=True)
    second = nodes[second].reset_index(drop=True)
    same = (first["label"] == second["label"]).to_numpy()
    by_chance = float(np.square(tables().prevalence).sum())
    assert same.mean() == pytest.approx(SAME_CLASS + (1 - SAME_CLASS) * by_chance, abs=0.03)
    for name, shares in tables().shares.items():
        labels = second["label"].to_numpy()[same]
        alone = np.square(shares).sum(axis=1)[labels].mean()  # of two patients of a class
        agree = (first[name] == second[name]).to_numpy()[same].mean()
        assert agree == pytest.approx(alone + 0.5 * (1 - alone), abs=0.04)


def test_a_phantom_of_nodes_is_a_cohort_of_nodes_with_its_truth(tmp_path):
    made = simulate_cohort(tmp_path / "p", n_patients=15, image_size=32, most_nodes=2, k=2)
    cohort = load_cohort(tmp_path / "p")
    assert (cohort.of_nodes, cohort.name, cohort.details.nodes) == (True, "phantom-15-nodes", 2)
    assert cohort.fingerprint == made.fingerprint
    truth = load_truth(cohort)
    assert truth.pictures["patient_id"].tolist() == cohort.images["patient_id"].tolist()
    assert set(truth.posteriors["patient_id"]) == set(cohort.patients["patient_id"])
    assert cohort.read_picture("P0001-1-2d").shape == (32, 32, 3)
