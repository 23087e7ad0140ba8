"""Comparison over the seeds: the tables against their definition, the choices, the page's promises."""

import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from fusion_ln.errors import RunError
from fusion_ln.predictions import read_predictions
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.seeds.page import write_seeds
from fusion_ln.report.seeds.reading import compare_seeds
from fusion_ln.runs import RunFolder

QUESTION = "Which of them?"
NAMES = ["baseline-2d", "baseline-cdfi", "baseline-elastic", "fusion-late-mean", "fusion-late-stacked", "fusion-concat"]


@pytest.fixture(scope="module")
def page(seeded, tmp_path_factory):
    cohort, runs = seeded
    return write_seeds(tmp_path_factory.mktemp("out"), read_results(runs, cohort), title="steps", question=QUESTION)


def of_seeds(runs, name, metric):
    """The metric of each seed's run, by scikit-learn."""
    found = []
    for run in runs:
        if run.name == name:
            predictions = read_predictions(run.predictions)
            if metric == "auc":
                found.append(roc_auc_score(predictions.labels, predictions.probs, multi_class="ovr"))
            else:
                found.append(recall_score(predictions.labels, predictions.probs.argmax(1), average=None)[1])
    assert len(found) == 2
    return np.array(found)


@pytest.mark.parametrize(("metric", "named"), [("auc", ("auc_ovr", "all")), ("recall", ("recall", "lymphoma"))])
def test_figures_are_means_over_the_seeds_and_differences_go_seed_by_seed(page, seeded, metric, named):
    _, runs = seeded
    tables = page.parent / "tables"
    means, gaps = (pd.read_csv(tables / f"{name}_over_seeds.csv") for name in ("metrics", "differences"))
    means, gaps = (t[(t["metric"] == named[0]) & (t["class"] == named[1])] for t in (means, gaps))
    means, gaps = means.set_index("model"), gaps.set_index(["reference", "model"])
    assert means.index.tolist() == NAMES
    references = {"best single modality": "baseline-elastic", "mean of probabilities": "fusion-late-mean"}
    for name in NAMES:
        expected = of_seeds(runs, name, metric)
        row = means.loc[name]
        assert row["value"] == pytest.approx(expected.mean())
        assert np.isnan(row["ci_low"]) or row["ci_low"] < row["value"] < row["ci_high"]  # of few patients: none
        np.testing.assert_allclose([float(value) for value in row["by_seed"].split()], expected, atol=1e-4)
        for what, reference in references.items():
            if name == reference:
                assert (what, name) not in gaps.index
                continue
            own, gap = gaps.loc[(what, name)], expected - of_seeds(runs, reference, metric)
            assert own["difference"] == pytest.approx(gap.mean())
            np.testing.assert_allclose([float(value) for value in own["by_seed"].lstrip("'").split()], gap, atol=1e-4)
            assert np.isnan(own["ci_low"]) or own["ci_low"] <= own["difference"] <= own["ci_high"]
            assert np.isnan(own["p"]) == (metric != "auc")


def with_seed(record, seed):
    settings = record.settings
    if isinstance(record, BaselineRecord):
        return record.model_copy(update={"settings": settings.model_copy(update={"seed": seed})})
    members = {name: member.model_copy(update={"seed": seed}) for name, member in settings.members.items()}
    return record.model_copy(update={"settings": settings.model_copy(update={"members": members})})


def copy_runs(runs, folder, seeds):
    """Copy the runs of the first seed, under each of ``seeds``."""
    copies = []
    for seed in seeds:
        for run in runs[: len(NAMES)]:
            copy = RunFolder(shutil.copytree(run.root, folder / f"seed-{seed}" / run.name))
            copy.write_record(with_seed(run.read_record(), seed))
            copies.append(copy)
    return copies


def test_a_copy_under_another_seed_leaves_the_intervals_as_they_are(seeded, tmp_path):
    cohort, runs = seeded
    copies = copy_runs(runs, tmp_path, [0, 1])
    alone, doubled = (compare_seeds(read_results(given, cohort)).comparison for given in (runs[: len(NAMES)], copies))
    for table in ("metrics", "differences"):
        held, same = getattr(alone, table), getattr(doubled, table)
        np.testing.assert_allclose(held[["ci_low", "ci_high"]], same[["ci_low", "ci_high"]])


def test_the_headline_fusion_is_the_best_on_inner_validation(seeded, tmp_path):
    cohort, runs = seeded
    copies = copy_runs(runs, tmp_path, [0])
    comparison = compare_seeds(read_results(copies, cohort)).comparison
    best = max((m for m in comparison.models if m.is_fusion), key=lambda model: model.inner_auc)
    assert comparison.candidate is best
    run = RunFolder(tmp_path / "seed-0" / best.name)
    run.write_record(run.read_record().model_copy(update={"learnt": ({"weights": [1.0, 0.0, 0.0]},) * cohort.n_folds}))
    assert compare_seeds(read_results(copies, cohort)).comparison.candidate.name != best.name


def test_the_page_answers_shows_every_figure_and_says_simulated(page):
    text = page.read_text()
    assert QUESTION in text
    assert text.count("<svg") == 6
    assert "SIMULATED" in text
    assert len(list((page.parent / "figures").glob("seeds_*.png"))) == 6
    assert (pd.read_csv(page.parent / "tables" / "metrics_over_seeds.csv")["simulated"]).all()


def test_a_model_that_lacks_a_seed_is_refused(seeded):
    cohort, runs = seeded
    with pytest.raises(RunError, match="fusion-concat: trained with seeds 0, but baseline-2d with seeds 0, 1"):
        compare_seeds(read_results(runs[:-1], cohort))
