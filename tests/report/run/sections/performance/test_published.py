from dataclasses import replace

from fusion_ln.report.run.results import Results
from fusion_ln.report.run.sections.performance.published import published_table


def test_the_papers_figures_stand_beside_ours_only_on_its_cohort(cohort, results):
    assert published_table(results).empty
    paper = Results(replace(cohort, source="cv4lymphnode"), results.models)
    table = published_table(paper)
    assert table["published,_other_protocol"].tolist() == [0.906, 0.896, 0.925, 0.792, 0.745, 0.657, 0.48]
    assert table["ours"].notna().all()
