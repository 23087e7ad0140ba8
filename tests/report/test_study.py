import re

import optuna
import pandas as pd
import pytest

from fusion_ln.records.parts import CohortSummary
from fusion_ln.report.study import summarise, write_study_page
from fusion_ln.tuning.results import IDENTITY, KNOWN

SPACE = {"lr": {"low": 1e-4, "high": 1e-2, "log": True, "step": None}, "width": [8, 16]}
COHORT = CohortSummary(
    name="tiny",
    simulated=True,
    classes=("benign", "malignant"),
    modalities=("2d", "elastic"),
    patients=24,
    fingerprint="",
    folds="",
    n_folds=2,
).model_dump(mode="json")


def make_study(name, objectives=("auc",), folds=(0, 1)):
    """Twelve trials, the fifth pruned and the last failed; the AUC grows with the number."""
    study = optuna.create_study(study_name=name, directions=["maximize"] * len(objectives))
    own = {"objectives": list(objectives), "folds": list(folds), "space": SPACE, "sampler": "tpe", "seed": 0}
    study.set_user_attr(IDENTITY, {**own, "cohort": COHORT})
    study.set_metric_names(list(objectives))
    for number in range(12):
        trial = study.ask()
        trial.suggest_float("lr", 1e-4, 1e-2, log=True)
        trial.suggest_categorical("width", [8, 16])
        if number == 0:
            trial.set_user_attr(KNOWN, True)
        if len(objectives) == 1:
            trial.report(number / 20, 0)
        if number in (5, 11):
            state = optuna.trial.TrialState.PRUNED if number == 5 else optuna.trial.TrialState.FAIL
            study.tell(trial, state=state)
        else:
            study.tell(trial, [0.5 + number / 30, 0.9 - number / 30][: len(objectives)])
    return study


def test_the_summary_counts_trials_and_sets_the_best_beside_the_untuned():
    [row] = summarise([make_study("x/baseline-2d")]).to_dict("records")
    assert (row["study"], row["finished"], row["pruned"], row["failed"], row["trial"]) == ("baseline-2d", 11, 1, 1, 10)
    assert row["untuned"] == 0.5
    assert row["best"] == pytest.approx(0.5 + 10 / 30, abs=1e-4)
    assert row["settings"].startswith("lr ")


def test_the_page_counts_nodes_and_their_patients(tmp_path):
    def page_of(cohort):
        study = make_study("x/baseline-2d", objectives=("auc",))
        study.set_user_attr(IDENTITY, {**study.user_attrs[IDENTITY], "cohort": cohort})
        return write_study_page(tmp_path, "x", {"baseline-2d": [study]}).read_text()

    page = page_of({**COHORT, "owners": 10})
    assert "cohort tiny, 24 nodes of 10 patients" in page
    assert "<strong>NODES</strong>" in page
    page = page_of(COHORT)
    assert "cohort tiny, 24 patients" in page
    assert "<strong>NODES</strong>" not in page


def test_the_page_has_every_plot_and_names_the_leak_and_the_simulation(tmp_path):
    by_run = {
        "baseline-2d": [make_study("x/baseline-2d")],
        "fusion-gated": [make_study("x/fusion-gated/fold-0", folds=(0,))],
    }
    page = write_study_page(tmp_path, "x", by_run).read_text()
    for kind in ("History", "Importances", "Pruning", "Slices", "Parallel coordinates"):
        assert page.count(f"<h3>{kind}</h3>") == 2
    assert "Pooled over the folds: baseline-2d." in page
    assert "SIMULATED" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert len(list((tmp_path / "figures").glob("*.png"))) == page.count("<svg") == 10
    trials = pd.read_csv(tmp_path / "tables" / "trials.csv")
    assert trials.groupby("study")["trial"].count().tolist() == [12, 12]
    assert trials["simulated"].all()


def test_of_several_objectives_the_page_shows_the_front_and_no_pruning(tmp_path):
    study = make_study("x/baseline-2d", objectives=("auc", "recall:lymphoma"))
    page = write_study_page(tmp_path, "x", {"baseline-2d": [study]}).read_text()
    assert "<h3>Pareto front</h3>" in page
    assert "<h3>Pruning</h3>" not in page
