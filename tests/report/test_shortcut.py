import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusion_ln.errors import RunError
from fusion_ln.evaluation.shortcut import (
    FRAME_ONLY,
    GREYED,
    NODE_HIDDEN,
    PROBE,
    SWAPPED,
    TEXTS_PAINTED,
    UNALTERED,
)
from fusion_ln.predictions import predictions_from_logits
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.shortcut import read_audit, shortcut_figures, shortcut_verdict, write_audit_page

CLASSES = ["benign", "lymphoma", "metastatic"]
N = 90


def write_audit(folder, skills, *, simulated=True, regions="truth"):
    """The files of an audit of 90 patients, each alteration leaving so much skill."""
    rng = np.random.default_rng(0)
    labels, folds = np.arange(N) % 3, np.arange(N) % 5
    names = [f"P{i:03d}" for i in range(N)]
    tables = []
    for name, skill in skills.items():
        logits = rng.normal(size=(N, 3)) + skill * np.eye(3)[labels]
        tables.append(predictions_from_logits(tuple(CLASSES), names, folds, labels, logits).table)
        tables[-1]["alteration"] = name
        (folder / "examples" / name).mkdir(parents=True)
        if name in (UNALTERED, NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED, GREYED):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "examples" / name / "P000-2d.png")
    pd.concat(tables, ignore_index=True).to_parquet(folder / "predictions.parquet")
    cohort = {
        "name": "c", "simulated": simulated, "classes": CLASSES, "modalities": ["2d", "cdfi"], "patients": N,
        "fingerprint": "f" * 64, "folds": "0" * 64, "n_folds": 5,
    }  # fmt: skip
    record = {
        "run": "fusion-late-mean", "kind": "fusion", "cohort": cohort, "modalities": ["2d", "cdfi"],
        "regions": regions, "examples": ["P000", "P002"], "seed": 0, "versions": {"python": "3.11"},
    }  # fmt: skip
    (folder / "audit.json").write_text(json.dumps(record))
    return folder


def skills(**changes):
    return {
        UNALTERED: 2.0, NODE_HIDDEN: 0.0, FRAME_ONLY: 0.0, TEXTS_PAINTED: 2.0, GREYED: 1.0, SWAPPED: 2.2,
        "swapped-2d": 1.0, "swapped-cdfi": 1.5, PROBE: 0.0,
    } | changes  # fmt: skip


def page_of(folder):
    return write_audit_page(read_audit(folder)).read_text(encoding="utf-8")


def test_the_verdict_stands_first_and_the_figures_behind_it_below(tmp_path):
    folder = write_audit(tmp_path, skills(**{FRAME_ONLY: 1.5, PROBE: 2.0}))
    page = page_of(folder)
    assert "In simulated patients, the model relies on something outside the node." in page
    assert page.index("relies on something") < page.index("The rule, fixed beforehand")
    assessment = read_audit(folder).assessment
    assert f"{assessment.of(FRAME_ONLY).auc:.3f}" in page
    assert "Colour Doppler of another patient" in page
    assert "SIMULATED" in page
    table = pd.read_csv(folder / "tables" / "audit.csv")
    assert table["alteration"].tolist() == list(skills())
    assert table["simulated"].all()
    assert {p.name for p in (folder / "figures").iterdir()} == {
        "auc.png", "change.png", "example_0.png", "example_1.png",
    }  # fmt: skip


def test_no_sign_is_no_proof_and_what_the_frame_would_allow_is_said(tmp_path):
    audit = read_audit(write_audit(tmp_path, skills(**{PROBE: 2.0}), simulated=False, regions="rule"))
    assert shortcut_verdict(audit) == "No sign that the model relies on something outside the node."
    assert "That is no proof" in shortcut_figures(audit)
    assert "Frame and texts do give the class away" in shortcut_figures(audit)
    page = page_of(tmp_path)
    assert "SIMULATED" not in page
    assert "The cohort has no masks" in page


def test_a_model_that_tells_nothing_is_not_cleared_without_a_word(tmp_path):
    audit = read_audit(write_audit(tmp_path, skills(**{UNALTERED: 0.0, TEXTS_PAINTED: 0.0})))
    assert "hardly tells the classes at all" in shortcut_figures(audit)


def test_a_node_that_may_reach_beyond_the_hidden_part_is_mentioned(tmp_path):
    audit = read_audit(write_audit(tmp_path, skills(**{NODE_HIDDEN: 1.0})))
    assert "What surrounds a node may be diseased as well" in shortcut_figures(audit)


@pytest.mark.usefixtures("undrawn")
def test_a_report_on_the_run_links_to_its_audit(cohort, maker, tmp_path):
    runs = [maker.baseline("2d"), maker.baseline("cdfi")]
    page = write_results(tmp_path / "out", read_results(runs, cohort), title="t")
    assert 'id="audits"' not in page.read_text(encoding="utf-8")
    page = runs[1].root / "audit" / "audit.html"
    page.parent.mkdir()
    page.write_text("audit", encoding="utf-8")
    text = write_results(tmp_path / "out", read_results(runs, cohort), title="t").read_text(encoding="utf-8")
    [link] = re.findall(r'id="audits".*?<a href="([^"]+)"', text)
    assert (tmp_path / "out" / link).resolve() == page.resolve()


def test_a_folder_without_an_audit_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no audit"):
        read_audit(tmp_path)


@pytest.mark.parametrize("kept", [[UNALTERED], [NODE_HIDDEN, FRAME_ONLY, TEXTS_PAINTED]])
def test_an_audit_that_lost_a_part_or_an_example_is_refused(tmp_path, kept):
    path = write_audit(tmp_path, skills()) / "predictions.parquet"
    table = pd.read_parquet(path)
    table[table["alteration"].isin(kept)].to_parquet(path)
    with pytest.raises(RunError, match="lacks a part of the audit"):
        read_audit(tmp_path)
    table[table["patient_id"] != "P002"].to_parquet(path)
    with pytest.raises(RunError, match="no prediction of the example 'P002'"):
        read_audit(tmp_path)
