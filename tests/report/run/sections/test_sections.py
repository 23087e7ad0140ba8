import re
from dataclasses import replace

import numpy as np
import pytest

from fusion_ln.report.run.page import build_sections, write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results


@pytest.fixture(scope="module")
def sections(report):
    return build_sections(report)


def test_sections_stand_in_the_order_of_their_places_under_own_anchors(sections):
    places, anchors = [s.place for s in sections], [s.anchor for s in sections]
    assert places == sorted(set(places))
    assert len(set(anchors)) == len(anchors)
    assert anchors[:2] == ["models", "differences"]
    assert anchors[-1] == "how"


def test_no_two_sections_write_a_figure_or_table_of_one_name(sections):
    for names in ([p.name for s in sections for p in s.plates], [t for s in sections for t in s.tables]):
        assert len(names) == len(set(names))


def test_a_part_that_two_sections_need_is_computed_once(report):
    calls = []

    def compute(results):
        calls.append(results)
        return len(results.models)

    assert [report.once(compute), report.once(compute)] == [7, 7]
    assert len(calls) == 1


def test_no_table_of_a_complete_report_holds_nan(sections):
    tables = {name: sheet.table for section in sections for name, sheet in section.tables.items()}
    complete = ["reliability", "calibration", "decision_curves", "conformal_coverage", "undecided"]
    for name in [*complete, "disagreements"]:
        assert len(tables[name])
        assert not tables[name].isna().any().any(), name


def test_a_page_with_everything_shows_every_section(cohort, seven, tmp_path):
    """Two sites, sex and age, subsets of the pictures, and the paper's cohort: one report draws them all."""
    n = len(cohort.patients)
    patients = cohort.patients.assign(
        site=np.where(np.arange(n) % 2, "a", "b"),
        sex=np.array(["female", "male", None], dtype=object)[np.arange(n) % 3],
        age=np.linspace(20, 80, n),
    )
    cohort = replace(cohort, patients=patients, source="cv4lymphnode", simulated=False)
    models = read_results(seven[2:4], cohort).models
    whole = models[-1]
    models = (*models[:-1], replace(whole, subsets={"2d": whole.predictions, "2d+cdfi": whole.predictions}))
    page = write_results(tmp_path, Results(cohort, models, n_resamples=200), title="All").read_text()
    for section in (
        "calibration",
        "decisions",
        "sets",
        "subgroups",
        "subsets",
        "published",
        "disagreements",
        "checklists",
    ):
        assert f'id="{section}"' in page
    assert "published, other protocol" in page
    assert "too few to score" in page  # the oldest of so few patients are of one class
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"auc_by_site", "auc_by_sex", "auc_by_age_band", "decision_curves", "reliability_lymphoma"} <= figures
    assert not re.search(r">nan<", page)
    headings = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', page)
    assert headings
    assert not [heading for heading in headings if "_" in heading or heading in ("model", "ci low", "n")]
