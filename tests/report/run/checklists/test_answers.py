from dataclasses import replace

from fusion_ln.records.parts import Preparation
from fusion_ln.report.run.checklists.answers import answers
from fusion_ln.report.run.checklists.items import CLAIM_2024
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report


def test_claim_11_and_9_are_answered_by_how_pictures_were_cut_and_masked(report):
    items = {item.number: item.answer for item in CLAIM_2024}
    plain = answers(report)
    assert plain[items["11"]] == ""
    assert plain[items["9"]] == "image size 96"
    [single, *_] = report.results.singles
    held = Preparation(crop="auto", mask_text=True, burned_in=3, boxes={"screen": 9})
    cohort = single.record.cohort.model_copy(update={"preparation": held})
    model = replace(single, record=single.record.model_copy(update={"cohort": cohort}))
    found = answers(Report(Results(report.results.cohort, (model,), n_resamples=20), report.folder, "Title"))
    assert found[items["11"]] == held.counts()
    assert found[items["9"]] == f"image size 96. {held.counts()}"
