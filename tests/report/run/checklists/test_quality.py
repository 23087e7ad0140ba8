from dataclasses import replace

import pytest

from fusion_ln.clinical.settings import ClinicalSettings
from fusion_ln.records.kinds import ClinicalRecord
from fusion_ln.report.run.checklists.quality import AUTHORS, FAILS, HOLDS, ITEMS, NOT_ASKED, grade, quality
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report


def test_weights_of_metrics_sum_to_one():
    assert [item for item, *_ in ITEMS] == list(range(1, 31))
    assert sum(weight for _, _, weight, _ in ITEMS) == pytest.approx(1, abs=5e-4)


def test_metrics_is_the_share_of_the_weight_that_applies_and_holds(report):
    found = quality(report)
    state = found.table.set_index("item")["holds"]
    assert state[[8, 9, 10, 12, 14, 15, 16]].eq(NOT_ASKED).all()
    assert state[[2, 3, 5, 6, 7, 28, 29, 30]].eq(AUTHORS).all()
    assert state[[11, 13, 18, 20, 21, 22, 26]].eq(HOLDS).all()
    assert state[[4, 17, 27]].eq(FAILS).all()  # one site, no audit, no other institution
    asked = 1 - (0.0337 + 0.0225 + 0.0112 + 0.0311 + 0.02 + 0.02 + 0.03)
    holds = found.table.loc[found.table["holds"] == HOLDS, "weight"].sum()
    assert found.score == pytest.approx(100 * holds / asked, abs=0.05)
    assert found.score < found.reachable < 100


def test_early_stopping_on_the_held_out_fold_costs_two_items_of_metrics(report):
    single = report.results.singles[0]
    settings = single.record.settings.model_copy(update={"protocol": "paper"})
    model = replace(single, record=single.record.model_copy(update={"settings": settings}))
    paper = Report(Results(report.results.cohort, (model,), n_resamples=20), report.folder, "Title")
    state = quality(paper).table.set_index("item")["holds"]
    assert state[[18, 26]].eq(FAILS).all()


@pytest.mark.parametrize(("column", "expected"), [("age", HOLDS), ("hilum", AUTHORS)])
def test_a_model_of_columns_beside_the_pictures_answers_two_items(report, column, expected):
    single = report.results.singles[0]
    settings = ClinicalSettings(model="logistic", columns=(column,))
    described = single.record.model_dump(exclude={"kind", "settings", "folds"}) | {"settings": settings}
    model = replace(single, name="columns", record=ClinicalRecord(**described))
    both = Report(Results(report.results.cohort, (single, model), n_resamples=20), report.folder, "Title")
    table = quality(both).table.set_index("item")
    state = table["holds"]
    assert state[[24, 25]].tolist() == [expected, HOLDS]
    assert "--clinical-baseline" not in str(table.loc[24].tolist())  # columns stand beside already
    assert state[[14, 15, 16]].ne(NOT_ASKED).all()  # tabular data are used


@pytest.mark.parametrize(("score", "name"), [(19.9, "very low"), (20, "low"), (59, "moderate"), (80, "excellent")])
def test_the_score_has_the_names_of_its_paper(score, name):
    assert grade(score) == name
