from dataclasses import replace

from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.performance.differences import build


def test_differences_name_the_reference_once_and_every_fusion(report):
    results = report.results
    shown = build(report).values["comparison"]
    headings = [column.heading for column in shown.columns]
    assert headings[:6] == ["Model", "Class", "AUC", "AUC of reference", "Difference", "95 % interval"]
    assert set(shown.table["model_a"]) == {model.name for model in results.fusions}


def test_one_model_alone_has_no_section_on_differences(report):
    alone = replace(report.results, models=report.results.models[:1])
    assert build(Report(alone, report.folder, "Title")) is None
