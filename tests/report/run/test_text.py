from dataclasses import replace

import pytest

from fusion_ln.predictions import Predictions
from fusion_ln.report.run import text as words
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict", "sure"),
    [
        (0.01, 0.05, 0.01, "better than", "excludes zero"),
        (-0.05, -0.01, 0.01, "worse than", "excludes zero"),
        (-0.01, 0.05, 0.2, "no difference was shown", "includes zero"),
        (0.0, 0.05, 0.049, "no difference was shown", "includes zero"),
        (0.001, 0.05, 0.051, "no difference was shown", "disagree"),
    ],
)
def test_the_verdict_is_no_stronger_than_interval_and_test(cohort, seven, low, high, p, verdict, sure):
    results = read_results(seven, cohort)
    results.differences["ci_low"], results.differences["ci_high"] = low, high
    pairs = results.comparison.comparison
    pairs.loc[pairs["family"] == "primary", "p"] = p
    assert verdict in words.verdict(results)
    explained = words.verdict_figures(results)
    assert sure in explained
    assert f"not corrected for the other comparisons, p = {p:.3f}" in explained.replace("0.0510", "0.051")
    assert "given these trainings" in explained


@pytest.mark.parametrize(("p", "text"), [(0.0004, "p < 0.001"), (0.0496, "p = 0.0496"), (0.2, "p = 0.200")])
def test_a_p_value_near_its_bound_tells_its_side(p, text):
    assert words.p_value(p) == text


def test_better_than_each_names_the_modality_that_decides(cohort, seven):
    results = read_results(seven, cohort)
    found = results.comparison.better_than_each
    assert found.others == tuple(m.name for m in results.singles)
    sentence = words.better_than_each(results)
    assert sentence.startswith("The fusion is better" if found.p < 0.05 else "That it is better")
    assert sentence in words.verdict_figures(results)


def test_patients_recognised_are_counted_from_the_most_probable_class(cohort, seven):
    results = read_results(seven, cohort)
    table = results.main.predictions.table
    lymphoma = table[table["label"] == 1]
    by_hand = sum(row.prob_lymphoma > max(row.prob_benign, row.prob_metastatic) for row in lymphoma.itertuples())
    assert words.recognised(results, results.main, "lymphoma") == (by_hand, len(lymphoma))


def test_one_baseline_alone_is_described_without_a_comparison(cohort, maker):
    results = read_results([maker.baseline("2d")], cohort)
    assert "grey scale (2D) told the diagnoses apart" in words.verdict(results)
    assert "nothing is compared" in words.verdict_figures(results)
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
    results = read_results([single, maker.fusion()], cohort)
    text = words.verdict_figures(results)
    assert f"On the {len(cohort.patients) - 2} held-out patients that every model predicted" in text
    # The recalls beside it are of all whom each model predicted, so they need not differ by as much.
    assert "Among the patients that every model predicted the difference is" in words.weak_class_answer(results)
