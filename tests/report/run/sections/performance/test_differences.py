from dataclasses import replace

from fusion_ln.evaluation.swaps import name_test, swap_test
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


def test_the_primary_endpoint_has_one_p_value_and_that_of_no_gain(report):
    results = report.results
    p = swap_test([results.candidate.predictions], [results.reference.predictions])[-1]
    text = describe_families(report)[0]
    assert f"not corrected, {p_value(p)}. " in text
    assert (results.primary_test.difference > 0) == ("that the gain is none" in text)
    if results.primary_test.difference > 0:
        assert f"none is {p / 2:.3f}" in text


def test_the_section_names_the_test_of_its_p_values(report):
    assert build(report).values["test"] == name_test(report.results.compared_patients)


def test_a_probability_of_no_gain_is_never_written_as_nought(report):
    results = report.results
    certain = results.primary_test._replace(p=4e-5, difference=0.07)
    text = _describe_primary(results.candidate, results.reference, certain)
    assert "none is 2e−05, were" in text
