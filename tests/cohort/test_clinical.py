import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fusion_ln.cohort.clinical import ClinicalColumn, clinical_values, learn_columns, standardise
from fusion_ln.errors import CohortError


@pytest.fixture
def cohort(make_cohort):
    cohort = make_cohort(20)
    patients = cohort.patients.assign(age=np.linspace(20, 80, 20), sex=["m", "f"] * 10)
    of_training = np.flatnonzero(patients["patient_id"].isin(cohort.training_part(0)[0]))
    patients.loc[of_training[0], "age"], patients.loc[of_training[1], "sex"] = np.nan, None
    return replace(cohort, patients=patients)


def test_the_training_part_standardises_columns_and_fills_missing_values(cohort):
    training = cohort.patients[cohort.patients["patient_id"].isin(cohort.training_part(0)[0])]
    table = standardise(training, learn_columns(cohort, ["age", "sex"], 0))
    values = table.to_numpy()
    assert table.index.tolist() == training["patient_id"].tolist()
    assert training[["age", "sex"]].isna().any().all()
    assert values.dtype == np.float32
    assert (values[training["age"].isna(), 0] == 0).all()
    assert (values[training["sex"].isna(), 1] == 0).all()
    for k, column in enumerate(["age", "sex"]):
        of_known = values[training[column].notna().to_numpy(), k]
        np.testing.assert_allclose([of_known.mean(), of_known.std()], [0, 1], atol=1e-6)
    assert (values[(training["sex"] == "m").to_numpy(), 1] > 0).all()  # kinds in the order of the alphabet


def test_held_out_patients_have_no_say_in_it(cohort):
    others = cohort.patients.copy()
    others.loc[others["patient_id"].isin(cohort.held_out(0)), "age"] = 1000.0
    changed = replace(cohort, patients=others)
    assert learn_columns(changed, ["age"], 0) == learn_columns(cohort, ["age"], 0)
    assert learn_columns(changed, ["age"], 1) != learn_columns(cohort, ["age"], 1)


def test_a_patient_of_whom_a_column_is_not_known_gets_the_mean():
    age = ClinicalColumn(name="age", kinds=None, mean=50, spread=10)
    sex = ClinicalColumn(name="sex", kinds=("f", "m"), mean=0.25, spread=0.5)
    patients = pd.DataFrame({"patient_id": ["a", "b"], "sex": ["m", "f"]})
    np.testing.assert_allclose(standardise(patients, [age, sex]), [[0, 1.5], [0, -0.5]])
    np.testing.assert_allclose(standardise(pd.DataFrame({"patient_id": ["a"], "age": ["65"]}), [age, sex]), [[1.5, 0]])


def test_values_are_joined_by_patient_whatever_the_order_of_the_table():
    age = ClinicalColumn(name="age", kinds=None, mean=50, spread=10)
    table = standardise(pd.DataFrame({"patient_id": ["c", "a", "b"], "age": [30, 50, 60]}), [age])
    np.testing.assert_array_equal(clinical_values(table, np.array(["a", "c"])), np.array([[0], [-2]], dtype=np.float32))
    with pytest.raises(KeyError, match="d"):
        clinical_values(table, np.array(["a", "d"]))


@pytest.mark.parametrize(("value", "column"), [("old", "age"), ("x", "sex")])
def test_a_value_that_a_column_cannot_hold_is_named(cohort, value, column):
    expected = {"age": "'old' is not a number", "sex": "'x' is not 'f' or 'm'"}[column]
    with pytest.raises(CohortError, match=expected):
        standardise(pd.DataFrame({"patient_id": ["a"], column: [value]}), learn_columns(cohort, ["age", "sex"], 0))


@pytest.mark.parametrize("value", [float("inf"), "-inf", 1e300, 1e60, 1e20])
def test_a_number_of_no_usual_size_is_named(cohort, value):
    with pytest.raises(CohortError, match=f"clinical column 'age': {re.escape(str(value))} is no finite number"):
        standardise(pd.DataFrame({"patient_id": ["a", "b"], "age": [50, value]}), learn_columns(cohort, ["age"], 0))


@pytest.mark.parametrize("column", ["label", "Label ", "patient_id", "site", "fold", "node_id", "inner_0"])
def test_class_ids_site_and_fold_are_no_clinical_columns(cohort, column):
    patients = cohort.patients
    held = cohort if column in patients else replace(cohort, patients=patients.assign(**{column: np.arange(20) % 3}))
    with pytest.raises(CohortError, match=f"no clinical column '{column}'.*\n.*columns: age, sex"):
        learn_columns(held, ["age", column], 0)


def test_the_class_under_another_name_is_refused(cohort):
    """Spelled out it is text; coded anew it would be a number that tells the class without any picture."""
    coded = cohort.patients["label"].map({0: 7.5, 1: 2.0, 2: 3.0})
    with pytest.raises(CohortError, match="'verdict' is the class under another name"):
        learn_columns(replace(cohort, patients=cohort.patients.assign(verdict=coded)), ["verdict"], 0)
    almost = coded.where(cohort.patients.index != 4, 7.5)
    assert learn_columns(replace(cohort, patients=cohort.patients.assign(verdict=almost)), ["verdict"], 0)
