from dataclasses import replace

import numpy as np
import pytest

from fusion_ln.report.kit.page import write_page
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence.readers import build


@pytest.fixture
def with_readers(cohort, results, rng, tmp_path):
    """The report of patients whom some readers called; the second one left out five of them."""

    def make(n: int) -> Report:
        names = np.array(cohort.classes, dtype=object)
        columns = {}
        for number in range(n):
            scores = rng.normal(size=(len(cohort.patients), 3)) + np.eye(3)[cohort.patients["label"]]
            columns[f"reader:R{number}"] = names[scores.argmax(axis=1)]
            columns[f"reader:R{number}:metastatic"] = np.digitize(scores[:, 2], [-1, 0, 1, 2]) + 1.0
            if number == 1:
                columns["reader:R1"][:5] = None
                columns["reader:R1:metastatic"][:5] = np.nan
        patients = cohort.patients.assign(**columns)
        return Report(Results(replace(cohort, patients=patients), results.models), tmp_path, "Title")

    return make


def test_a_cohort_without_readers_has_no_such_section(report):
    assert build(report) is None


def test_readers_stand_beside_the_model_with_their_counts(with_readers):
    section = build(with_readers(3))
    assert section.subtitle == "3 readers, simulated"
    assert [plate.name for plate in section.plates] == [f"readers_{c}" for c in ("benign", "lymphoma", "metastatic")]
    assert "the 25 patients read by all 3 readers" in section.plates[0].caption
    read = section.tables["readers_read"].table.set_index("reader")
    assert read.loc["R1"].tolist() == [25, 25, 5]
    alone = section.tables["readers_alone"].table.set_index(["measure", "class"])
    assert alone.loc["accuracy", "all"]["patients"] == 25
    assert ("auc", "benign") not in alone.index
    assert set(section.tables) == {"readers_alone", "readers", "readers_read", "readers_agreement"}
    assert not section.left_out


def test_two_readers_are_compared_one_by_one_and_the_reason_is_said(with_readers, tmp_path):
    section = build(with_readers(2))
    assert "readers_alone" not in section.tables
    name = f"sections/{section.template}"
    page = write_page(tmp_path / "page.html", name, section.plates, [], simulated=True, section=section)
    assert "Each reader, and the model on the same patients" in page.read_text(encoding="utf-8")
    assert section.left_out == ["the model against the mean of the readers: it needs 3 readers, there are 2"]
