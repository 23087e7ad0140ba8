import numpy as np
import pandas as pd
import pytest
from tiny import CPU, write_cohort
from tiny import FIT_TWICE as FIT

from fusion_ln.evaluation.shortcut import FRAME_ONLY, NODE_HIDDEN, PROBE, TEXTS_PAINTED, UNALTERED
from fusion_ln.explain.shortcut.audit import audit_run
from fusion_ln.predictions import read_predictions
from fusion_ln.report.shortcut import read_audit, write_audit_page
from fusion_ln.training.run import run_baselines, run_fusions


def train(cohort, folder, fit=FIT, modalities=None):
    return run_baselines(
        cohort, modalities or list(cohort.modalities), fit, folder, protocol="nested", seed=0, device=CPU
    )


def predictions_of(out, alteration):
    table = pd.read_parquet(out / "predictions.parquet")
    return table[table["alteration"] == alteration].sort_values("patient_id").reset_index(drop=True)


def logits(table):
    return table[[c for c in table if c.startswith("logit_")]].to_numpy()


def test_unaltered_pictures_get_the_out_of_fold_predictions(make_cohort, tmp_path):
    """Each patient by the model of the fold that held the patient out, also of a fusion with absent modalities."""
    cohort = make_cohort(20, absent={3: {"cdfi"}, 7: {"2d", "elastic"}}, views=2)
    baselines = train(cohort, tmp_path / "runs")
    [fusion] = run_fusions(cohort, baselines, {"late-mean": None}, tmp_path / "runs", seed=0, device=CPU)
    audit_run(fusion, None, tmp_path / "audit")
    before, now = read_predictions(fusion.predictions).table, predictions_of(tmp_path / "audit", UNALTERED)
    assert now["patient_id"].tolist() == before["patient_id"].tolist()
    assert now["fold"].tolist() == before["fold"].tolist()
    probs = [c for c in before if c.startswith("prob_")]
    np.testing.assert_allclose(now[probs], before[probs], atol=1e-4)
    names = pd.read_parquet(tmp_path / "audit" / "predictions.parquet")["alteration"].unique().tolist()
    assert names == [
        "unaltered", "node-hidden", "frame-only", "texts-painted", "greyed",
        "swapped-within-class", "swapped-2d", "swapped-cdfi", "swapped-elastic", "border-probe",
    ]  # fmt: skip
    assert len(read_audit(tmp_path / "audit").assessment.table) == len(names)


def test_one_modality_is_not_swapped_and_a_seed_repeats_the_audit(make_cohort, tmp_path):
    cohort = make_cohort(20)
    [run] = train(cohort, tmp_path / "runs", modalities=["cdfi"])
    for out in ("a", "b"):
        audit_run(run, None, tmp_path / out)
    first, second = (tmp_path / out / "predictions.parquet" for out in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert not pd.read_parquet(first)["alteration"].str.startswith("swapped").any()
    unaltered = logits(predictions_of(tmp_path / "a", UNALTERED))
    for name in (NODE_HIDDEN, FRAME_ONLY):
        assert np.abs(logits(predictions_of(tmp_path / "a", name)) - unaltered).max() > 1e-3, name
    examples = sorted(p.name for p in (tmp_path / "a" / "examples" / NODE_HIDDEN).iterdir())
    assert examples == ["P000-cdfi.png", "P002-cdfi.png"]


def marked_cohort(folder, *, marked, n=60):
    """Tissue with a dark node that tells nothing, in a black frame; a sign left of it depends on the class, or not."""
    rng = np.random.default_rng(3)

    def draw(label, modality):
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        pixels[2:62, 16:62] = rng.integers(60, 160, (60, 46, 1))
        pixels[24:40, 28:50] //= 4
        top = 6 + 20 * (label if marked else int(rng.integers(3)))
        pixels[top : top + 12, 4:12:3] = 255
        pixels[top : top + 12 : 4, 4:12] = 255
        return pixels

    patients = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "label": np.arange(n) % 3, "site": "a"})
    return write_cohort(folder, patients, draw, modalities=["2d"], name="marked")


@pytest.mark.parametrize("marked", [True, False])
def test_a_planted_mark_is_caught_and_its_absence_is_not(tmp_path, marked):
    """End to end by the rules for cohorts without masks: the pictures tell nothing but by the mark in the frame."""
    cohort = marked_cohort(tmp_path / "cohort", marked=marked)
    fit = FIT.model_copy(update={"epochs": 12, "batch_size": 8})
    [run] = train(cohort, tmp_path / "runs", fit)
    audit_run(run, None, tmp_path / "audit")
    results = read_audit(tmp_path / "audit")
    assert results.assessment.relies == marked, results.assessment.table
    assert results.assessment.frame_tells == marked
    if marked:
        assert {FRAME_ONLY, TEXTS_PAINTED} <= set(results.assessment.caught)
        assert results.assessment.of(PROBE).auc > 0.9
    page = write_audit_page(results).read_text(encoding="utf-8")
    answer = "The model relies on something outside the node." if marked else "No sign that the model relies"
    assert answer in page
    assert "SIMULATED" not in page
