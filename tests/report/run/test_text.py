from dataclasses import replace

import pytest

from fusion_ln.predictions import Predictions
from fusion_ln.report.run import text as words
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.05, "better than"),
        (-0.05, -0.01, "worse than"),
        (-0.01, 0.05, "no difference was shown"),
        (0.0, 0.05, "no difference was shown"),
    ],
)
def test_the_verdict_is_no_stronger_than_the_interval(cohort, seven, low, high, verdict):
    results = read_results(seven, cohort)
    table = results.differences
    table["ci_low"], table["ci_high"] = low, high
    assert verdict in words.verdict(results)
    assert ("excludes zero" in words.explanation(results)) == (verdict != "no difference was shown")


def test_patients_recognised_are_counted_from_the_most_probable_class(cohort, seven):
    results = read_results(seven, cohort)
    table = results.main.predictions.table
    lymphoma = table[table["label"] == 1]
    by_hand = sum(row.prob_lymphoma > max(row.prob_benign, row.prob_metastatic) for row in lymphoma.itertuples())
    assert words.recognised(results, results.main, "lymphoma") == (by_hand, len(lymphoma))


def test_one_baseline_alone_is_described_without_a_comparison(cohort, maker):
    results = read_results([maker.baseline("2d")], cohort)
    assert "grey scale (2D) told the diagnoses apart" in words.verdict(results)
    assert "nothing is compared" in words.explanation(results)
    assert words.model_selection(results) == ""


def test_no_modality_is_called_the_best_where_inner_validation_cannot_tell(cohort, maker):
    models = read_results([maker.baseline("2d"), maker.baseline("elastic")], cohort).models
    benign = [Predictions(cohort.classes, m.inner.table[m.inner.labels == 0]) for m in models]  # no AUC of one class
    unknown = Results(cohort, tuple(replace(m, inner=inner) for m, inner in zip(models, benign, strict=True)))
    assert unknown.best_single is None
    assert unknown.reference.name == "baseline-2d"
    text = words.model_selection(unknown) + " ".join(fact.heading for fact in words.facts(unknown))
    assert "given first" in text
    assert "best single" not in text


def test_only_a_simulated_cohort_is_called_simulated(real):
    cohort, run = real
    results = read_results([run], cohort)
    text = " ".join([words.verdict(results), *words.limits(results), *(f.heading for f in words.facts(results))])
    assert "simulated" not in text.lower()


def test_models_of_other_patients_are_described_on_the_patients_of_both(cohort, maker):
    single = maker.baseline("elastic", without=tuple(cohort.patients["patient_id"].iloc[:2]))
    maker.baselines.clear()
    maker.baseline("2d")
    text = words.explanation(read_results([single, maker.fusion()], cohort))
    assert f"On the {len(cohort.patients) - 2} held-out patients that every model predicted" in text
