from dataclasses import replace

import numpy as np
import pytest

from fusion_ln.evaluation.probabilities.costs import parse_costs
from fusion_ln.evaluation.probabilities.decision import decision_curve, operating_points
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence import conformal, costs, decisions, prevalence

SHARES = np.array([0.7, 0.1, 0.2])


@pytest.fixture(scope="module")
def asked(results, tmp_path_factory) -> Report:
    """A report for another population and with costs."""
    given = parse_costs("metastatic:benign=10", results.cohort.classes)
    asked = replace(results, prevalence=SHARES, costs=given, n_resamples=20)
    return Report(asked, tmp_path_factory.mktemp("asked"), "Title")


def test_decisions_use_calibrated_probabilities_and_show_the_raw_beside(results):
    table = decisions.net_benefit(replace(results, n_resamples=20))
    model = results.main
    for stage, predictions in (("calibrated", model.calibrated.predictions), ("raw", model.predictions)):
        rows = table[(table["model"] == model.name) & (table["probabilities"] == stage)]
        expected = decision_curve(predictions, results.malignant)
        assert rows["net_benefit"].tolist() == expected["net_benefit"].tolist()
    points = decisions.points_of_models(results, [])
    own = points[points["model"] == model.name]
    expected = operating_points(model.calibrated.predictions, model.calibrated.inner, results.malignant)
    assert own["threshold"].tolist() == expected["threshold"].tolist()


def test_the_gain_is_the_candidates_over_the_references(results):
    table = decisions.gain_over_reference(replace(results, n_resamples=20))
    assert set(table["model"]) == {results.candidate.name}
    assert set(table["reference"]) == {results.reference.name}
    pair = [decision_curve(m.calibrated.predictions, results.malignant) for m in results.headline[::-1]]
    np.testing.assert_allclose(table["difference"], pair[0]["net_benefit"] - pair[1]["net_benefit"], atol=1e-12)


def test_without_inner_predictions_decisions_are_raw_and_named_so(results, tmp_path):
    bare = replace(results, models=tuple(replace(m, inner=None) for m in results.models[-2:]), n_resamples=20)
    section = decisions.build(Report(bare, tmp_path, "Title"))
    assert set(section.tables["decision_curves"].table["probabilities"]) == {"raw"}
    assert "no inner validation predictions" in section.values["uncalibrated"][0]
    assert "net_benefit_difference" not in section.tables


def test_other_populations_and_costs_get_sections_only_where_asked_for(report):
    assert prevalence.build(report) is None
    assert costs.build(report) is None


def test_another_population_shows_figures_and_the_frozen_operating_point(asked):
    section = prevalence.build(asked)
    assert section.subtitle == "0.7 benign, 0.1 lymphoma, 0.2 metastatic"
    figures = section.tables["prevalence_figures"].table
    main = asked.results.main
    row = figures[(figures["model"] == main.name) & (figures["metric"] == "accuracy")].iloc[0]
    predictions = main.calibrated.predictions
    right = predictions.probs.argmax(axis=1) == predictions.labels
    assert row["cohort"] == pytest.approx(right.mean())
    shifted = main.calibrated.at(SHARES).probs.argmax(axis=1) == predictions.labels
    by_class = [shifted[predictions.labels == c].mean() for c in range(3)]
    assert row["prevalence"] == pytest.approx(SHARES @ by_class)
    points = section.tables["prevalence_operating_points"].table
    assert set(points["metric"]) == {"sensitivity", "specificity", "ppv", "npv"}
    specificity = points[(points["model"] == main.name) & (points["metric"] == "specificity")].iloc[0]
    assert specificity["cohort"] == pytest.approx(specificity["prevalence"])  # one benign class, thresholds frozen
    treat_all = section.tables["decision_curves_prevalence"].table.iloc[0]["treat_all"]
    assert treat_all == pytest.approx(0.3 - 0.7 / 99)


def test_costs_follow_shifted_probabilities_and_name_what_needs_no_model(asked):
    table = costs.build(asked).tables["costs"].table
    assert (table["policy"] == "always benign").sum() == 1
    assert table.set_index("policy").loc["always benign", "mean_cost"] == pytest.approx(0.1 * 1 + 0.2 * 10)
    assert (table["policy"] == "least expected cost").sum() == 2


def test_coverage_of_cross_conformal_sets_is_called_an_in_sample_check(report):
    section = conformal.build(report)
    assert "Coverage, in-sample check" in [column.heading for column in section.tables["conformal_coverage"].columns]
    assert section.values["split"] is None
    assert [reason for reason in section.left_out if "split sets need 9 inner validation patients" in reason]
