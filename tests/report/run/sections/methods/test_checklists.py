import pytest

from fusion_ln.report.run.sections.methods.checklists import CLAIM, TRIPOD_AI, checklist
from fusion_ln.report.run.text import AUTHOR


@pytest.mark.parametrize(("items", "count"), [(TRIPOD_AI, 52), (CLAIM, 42)])
def test_checklists_answer_what_the_run_knows_and_leave_the_rest_to_the_author(report, items, count):
    table = checklist(items, report)
    assert len(table) == len(items) == count
    assert (table["answer"] == AUTHOR).sum() > 10
    answers = table.set_index("item")["answer"]
    assert answers["4"] == "Does fusing help?"
    assert "9 benign, 6 lymphoma, 15 metastatic" in table["answer"].tolist()
