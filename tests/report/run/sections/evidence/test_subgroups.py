from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.report.run.results import Results
from fusion_ln.report.run.sections.evidence.subgroups import build, by_variable, subgroup_metrics


def test_a_cohort_of_one_site_without_sex_and_age_has_no_subgroups(report):
    assert by_variable(report.results) == {}
    assert build(report) is None


def test_subgroups_are_scored_on_their_own_patients(cohort, results):
    patients = cohort.patients.assign(site=np.where(np.arange(len(cohort.patients)) % 2, "a", "b"))
    cohort = replace(cohort, patients=patients)
    results = Results(cohort, results.models)
    table = subgroup_metrics(by_variable(results))
    row = table[(table["model"] == results.main.name) & (table["level"] == "a") & (table["metric"] == "auc_ovr")].iloc[
        0
    ]
    own = results.main.predictions.of(patients.loc[patients["site"] == "a", "patient_id"])
    assert row["value"] == pytest.approx(roc_auc_score(own.labels, own.probs, multi_class="ovr"))
    assert row["n"] == 15
