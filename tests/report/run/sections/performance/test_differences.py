from dataclasses import replace

from scipy.stats import norm

from fusion_ln.evaluation.delong import delong
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.performance.differences import _describe_primary, build, describe_families
from fusion_ln.report.run.text import p_value


def test_differences_name_the_reference_once_and_every_fusion(report):
    results = report.results
    shown = build(report).values["comparison"]
    headings = [column.heading for column in shown.columns]
    assert headings[:6] == ["Model", "Class", "AUC", "AUC of reference", "Difference", "95 % interval"]
    assert set(shown.table["model_a"]) == {model.name for model in results.fusions}


def test_the_fusion_is_set_against_each_modality_alone(report):
    results = report.results
    table = build(report).tables["each_alone"].table
    assert table["model_b"].tolist() == [model.name for model in results.singles]
    assert set(table["model_a"]) == {results.candidate.name}
    against = table.set_index("model_b").loc[results.reference.name]
    assert against["difference"] == results.difference(results.candidate, "auc_ovr").difference


def test_one_model_alone_has_no_section_on_differences(report):
    alone = replace(report.results, models=report.results.models[:1])
    assert build(Report(alone, report.folder, "Title")) is None


def test_the_primary_endpoint_has_both_p_values_and_that_of_no_gain(report):
    results = report.results
    row = results.differences.query("metric == 'auc_ovr'").set_index("model").loc[results.candidate.name]
    test = delong(results.candidate.predictions, results.reference.predictions).iloc[-1]
    text = describe_families(report)[0]
    assert f"{p_value(test['p'])} (DeLong); {p_value(row['permutation_p'])} by swapping" in text
    assert (test["z"] > 0) == ("that the gain is none" in text)
    if test["z"] > 0:
        assert f"none is {norm.sf(test['z']):.3f}" in text


def test_a_probability_of_no_gain_is_never_written_as_nought(report):
    results = report.results
    certain = results.primary_test._replace(p=4e-5, difference=0.07)
    text = _describe_primary(results, results.candidate, results.reference, certain)
    assert "none is 2e−05, were" in text
