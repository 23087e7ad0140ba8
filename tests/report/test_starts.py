"""Two starts of each modality's baselines: the table against its definition, the page's promises, its refusals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError
from fusion_ln.files.formats import write_json
from fusion_ln.predictions import predictions_from_logits, write_predictions
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.report.starts import write_ablation
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings, FitSettings

QUESTION = "What does it buy?"


@pytest.fixture
def tiny(make_cohort) -> Cohort:
    return make_cohort(30)


@pytest.fixture
def runs(tiny, tmp_path):
    """A run per start, seed and modality whose logits know the label, better from the pre-trained start."""
    rng = np.random.default_rng(0)
    labels = tiny.patients["label"].to_numpy()
    made = []
    for weights, strength in (("scratch", 0.6), ("there/pretraining", 1.6)):
        for seed in (0, 1):
            for modality in tiny.modalities:
                run = RunFolder(tmp_path / weights.replace("/", "-") / f"seed-{seed}" / modality)
                settings = BaselineSettings(modality=modality, fit=FitSettings(weights=weights), seed=seed)
                run.write_record(BaselineRecord(settings=settings, cohort=tiny.describe(), **new_origin()))
                logits = rng.normal(size=(30, 3)) + strength * np.eye(3)[labels]
                folds = tiny.folds.set_index("patient_id").loc[tiny.patients["patient_id"], "fold"].to_numpy()
                patients = tiny.patients["patient_id"].tolist()
                table = predictions_from_logits(tiny.classes, patients, folds, labels, logits)
                write_predictions(run.predictions, table)
                made.append(run)
    return made


def auc(run, labels):
    probs = pd.read_parquet(run.predictions).filter(like="prob_").to_numpy()
    return roc_auc_score(labels, probs, multi_class="ovr")


def test_the_page_counts_nodes_and_their_patients(runs, tiny, tmp_path):
    names = [f"{place // 2}::{place % 2}" for place in range(30)]
    nodes = replace(tiny, patients=tiny.patients.assign(patient_id=names))
    page = write_ablation(tmp_path / "out", runs, nodes, title="t", question="").read_text()
    assert "cohort tiny · 30 nodes of 15 patients" in page
    assert "<strong>NODES</strong>" in page


def test_the_gain_is_the_difference_of_the_mean_aucs_over_the_seeds(runs, tiny, tmp_path):
    page = write_ablation(tmp_path / "out", runs, tiny, title="t", question=QUESTION)
    table = pd.read_csv(page.parent / "tables" / "pretraining.csv").set_index("modality")
    labels = tiny.patients["label"]
    for position, modality in enumerate(tiny.modalities):
        scratch, pretrained = ([auc(runs[start + 3 * seed + position], labels) for seed in (0, 1)] for start in (0, 6))
        row = table.loc[modality]
        assert (row["weights"], row["reference"]) == ("pretraining", "scratch")
        assert row["auc"] == pytest.approx(np.mean(pretrained))
        assert row["difference"] == pytest.approx(np.mean(pretrained) - np.mean(scratch))
        np.testing.assert_allclose(
            [float(d) for d in row["by_seed"].split()], np.subtract(pretrained, scratch), atol=1e-4
        )
        assert np.isnan(row["ci_low"]) or row["ci_low"] < row["difference"] < row["ci_high"]  # few patients: none
    text = page.read_text()
    assert QUESTION in text
    assert text.count("<svg") == 1
    assert "simulated" not in text.split("</style>")[1].lower()


def test_starts_that_differ_in_more_than_their_weights_are_not_compared(runs, tiny, tmp_path):
    record = json.loads(runs[6].record.read_text())
    record["settings"]["fit"]["epochs"] += 1
    write_json(runs[6].record, record)
    with pytest.raises(RunError, match="differ in more than their weights"):
        write_ablation(tmp_path / "out", runs, tiny, title="t", question="")


def test_a_seed_that_one_start_lacks_is_refused(runs, tiny, tmp_path):
    with pytest.raises(RunError, match="differ in more than their weights"):
        write_ablation(tmp_path / "out", runs[:-3], tiny, title="t", question="")
