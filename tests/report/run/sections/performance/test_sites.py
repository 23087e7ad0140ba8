from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fusion_ln.evaluation.sites.figures import pooled_row, score_sites
from fusion_ln.predictions import predictions_from_logits
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.performance.sites import build

PER_SITE = 60


def report_of_sites(report, n_sites):
    """The report of one baseline on patients of some sites, one fold each."""
    rng, cohort = np.random.default_rng(1), report.results.cohort
    n = n_sites * PER_SITE
    ids, folds, labels = [f"q{i:04}" for i in range(n)], np.arange(n) // PER_SITE, np.arange(n) % 3
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    held_out = predictions_from_logits(cohort.classes, ids, folds, labels, logits)
    inner = predictions_from_logits(cohort.classes, ids, (folds + 1) % n_sites, labels, logits)
    patients = pd.DataFrame({"patient_id": ids, "label": labels, "site": [f"clinic {fold}" for fold in folds]})
    own = replace(cohort, patients=patients, folds=pd.DataFrame({"patient_id": ids, "fold": folds}))
    model = replace(report.results.singles[0], predictions=held_out, inner=inner)
    return Report(Results(own, (model,), n_resamples=50), report.folder, "Title"), held_out


@pytest.fixture(scope="module")
def six(report):
    shown, held_out = report_of_sites(report, 6)
    return build(shown), held_out


def test_folds_that_are_no_sites_have_no_section(report):
    assert build(report) is None


def test_six_sites_tell_what_to_expect_of_a_new_one(six):
    section, held_out = six
    pooled = section.tables["sites_pooled"].table.iloc[0]
    row = pooled_row(score_sites(held_out, {fold: f"clinic {fold}" for fold in range(6)}).auc)
    assert pooled.drop("model").to_dict() == row
    headings = [column.heading for column in section.tables["sites_pooled"].columns]
    assert headings[2:5] == ["AUC, mean", "95 % interval", "A new site, 95 % prediction"]
    ends = f"{row['new_low']:.3f} to {row['new_high']:.3f}"
    assert section.headline.startswith(f"At a new site such as these, an AUC of {ends} is expected of ")
    assert not section.values["left"]  # noqa: PD011
    rows = section.plates[0].figure.axes[0].texts
    assert [text.get_text() for text in rows][:2] == ["clinic 0 (60)", rows[1].get_text()]
    assert any(text.get_text() == "A new site (95 % prediction)" for text in rows)


def test_each_site_has_its_threshold_and_its_recalls(six):
    section, _ = six
    thresholds = section.tables["site_thresholds"].table
    assert thresholds["site"].tolist() == [f"clinic {fold}" for fold in range(6)]
    assert (thresholds["positive"] == 40).all()
    assert len(section.values["recalls"].table) == 18  # noqa: PD011


def test_three_sites_say_nothing_of_a_new_one(report):
    section = build(report_of_sites(report, 3)[0])
    assert section.headline == ""
    assert section.tables["sites_pooled"].table[["new_low", "new_high"]].isna().all(axis=None)
    assert not any("new site" in text.get_text() for text in section.plates[0].figure.axes[0].texts)


def test_the_page_says_what_there_is_to_say(six, report, tmp_path):
    few = build(report_of_sites(report, 3)[0])
    texts = [
        write_page(
            tmp_path / "page.html", f"sections/{each.template}", each.plates, [], simulated=True, section=each
        ).read_text(encoding="utf-8")
        for each in (six[0], few)
    ]
    assert "The folds are the 6 sites" in texts[0]
    assert "A new site: 95 % prediction interval" in texts[0]
    assert "There is no prediction interval for a new site: under 5 sites" in texts[1]
    assert all("Thresholds that drift" in text for text in texts)
