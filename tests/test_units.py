import numpy as np
import pandas as pd
import pytest

from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.predictions import by_patient, predictions_from_logits, read_predictions, write_predictions
from fusion_ln.terms import severity
from fusion_ln.units import count_units, join_units, number_patients, split_units

CLASSES = ("benign", "malignant", "normal")
# Node, label and probabilities of benign, malignant and normal.
NODES = [
    ("a::1", 0, (0.5, 0.2, 0.3)),
    ("a::2", 2, (0.2, 0.3, 0.5)),
    ("b::1", 2, (0.1, 0.1, 0.8)),
    ("c::1", 1, (0.4, 0.6, 0)),
]

NAMES = [name for name, *_ in NODES]


def predictions():
    names, labels, probs = zip(*NODES, strict=True)
    logits = np.log(np.maximum(probs, 1e-9))
    return predictions_from_logits(CLASSES, names, np.zeros(4), np.array(labels), logits)


def test_tables_on_disk_hold_patient_and_node_apart(tmp_path):
    write_predictions(tmp_path / "p.parquet", held := predictions())
    raw = pd.read_parquet(tmp_path / "p.parquet")
    assert raw.columns[:3].tolist() == ["patient_id", "node_id", "fold"]
    assert raw[["patient_id", "node_id"]].to_numpy().tolist() == [["a", "1"], ["a", "2"], ["b", "1"], ["c", "1"]]
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.parquet").table, held.table)


def test_patients_without_nodes_stay_as_they_are():
    table = pd.DataFrame({"patient_id": ["a", "b"], "fold": [0, 1]})
    assert split_units(table) is table
    assert join_units(table) is table
    assert count_units(["a", "b"]) == "2 patients"


def test_nodes_that_are_no_texts_are_refused():
    with pytest.raises(ValueError, match="something else than texts"):
        join_units(pd.DataFrame({"patient_id": ["a"], "node_id": [1]}))


def test_nodes_know_their_patients():
    units = [name for name, *_ in NODES]
    assert number_patients(units).tolist() == predictions().clusters.tolist() == [0, 0, 1, 2]
    assert count_units(units) == "4 nodes of 3 patients"


def test_a_patient_has_the_class_of_the_worst_node_and_the_answer_of_the_most_suspicious():
    assert severity(CLASSES) == [1, 2, 0]
    whole = by_patient(predictions(), NAMES)
    assert whole.patients == ["a", "b", "c"]
    assert whole.labels.tolist() == [0, 2, 1]  # benign is worse than normal
    np.testing.assert_allclose(whole.probs, [NODES[1][2], NODES[2][2], NODES[3][2]], atol=1e-8)
    assert by_patient(whole, NAMES) is whole


def test_a_patient_with_a_node_without_prediction_is_no_whole_one():
    part = predictions().of(["a::1", "b::1", "c::1"])  # the worst node of a is the one that is left
    assert by_patient(part, NAMES).patients == ["b", "c"]
    assert by_patient(part, [*NAMES, "d::1"]).patients == ["b", "c"]
    found = describe_folds(part, NAMES)
    assert found["patients"] == {"counted": 2, "left_out": 1}
    assert found["by_patient"]["accuracy"] == 1
    assert "patients" not in describe_folds(by_patient(predictions(), NAMES), NAMES)
    nothing = describe_folds(part, [*NAMES, "b::2", "c::2"])
    assert (nothing["by_patient"], nothing["patients"]) == ({}, {"counted": 0, "left_out": 3})


def test_without_harmless_classes_the_first_one_is_the_least():
    held = predictions_from_logits(
        ("i", "ii"), ["a::1", "a::2"], np.zeros(2), np.array([1, 0]), np.array([[0.0, 1], [0, 2]])
    )
    whole = by_patient(held, held.patients)
    assert whole.labels.tolist() == [1]
    np.testing.assert_allclose(whole.logits, [[0, 2]])
