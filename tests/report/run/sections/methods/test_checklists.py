import pytest

from fusion_ln.report.run.checklists.answers import answers
from fusion_ln.report.run.checklists.items import CLAIM_2024, DEVELOPMENT, EVALUATION, TRIPOD_AI
from fusion_ln.report.run.sections.methods.checklists import build, checklist
from fusion_ln.report.run.text import AUTHOR


@pytest.mark.parametrize(("items", "count"), [(TRIPOD_AI, 52), (CLAIM_2024, 44)])
def test_checklists_answer_what_the_run_knows_and_leave_authors_the_rest(report, items, count):
    table = checklist(items, answers(report))
    assert len(table) == len(items) == count
    assert (table["answer"] == AUTHOR).sum() > 10
    found = table.set_index("item")["answer"]
    assert found["4"] == "Does fusing help?"
    assert "9 benign, 6 lymphoma, 15 metastatic" in table["answer"].tolist()


def test_tripod_items_say_whether_development_or_evaluation_is_asked(report):
    table = checklist(TRIPOD_AI, answers(report)).set_index("item")
    of = {part: table.index[table["applies_to"] == part].tolist() for part in (DEVELOPMENT, EVALUATION)}
    assert of[DEVELOPMENT] == ["9a", "12a", "12b", "12c", "15", "22", "27a", "27b"]
    assert of[EVALUATION] == ["12f", "12g", "20c", "24"]


def test_an_answer_that_the_author_completes_says_with_what(report):
    table = checklist(CLAIM_2024, answers(report)).set_index("item")
    assert table.loc["14", ["answer", "author_adds"]].tolist() == [
        "benign, lymphoma, metastatic, as the cohort labels them.",
        "How it was obtained",
    ]


def test_the_page_holds_the_three_lists(report):
    assert list(build(report).tables) == ["tripod_ai", "claim_2024", "metrics_score"]
