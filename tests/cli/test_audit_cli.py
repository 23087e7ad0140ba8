import os
import shutil
from pathlib import Path

import pytest
from tiny import CPU, FIT, fusionln

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.records.kinds import BaselineRecord, PretrainingRecord
from fusion_ln.records.parts import TaskSummaries
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.training.run import run_baselines

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared"))


def train(cohort, modality, out):
    [run] = run_baselines(cohort, [modality], FIT, out, protocol="nested", seed=0, device=CPU)
    return run


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(20, absent={3: {"cdfi"}})


@pytest.fixture
def run(cohort, tmp_path):
    return train(cohort, "cdfi", tmp_path)


def test_an_audit_says_its_verdict_and_where_its_page_is(run):
    output = fusionln("audit", run.root, "--device", "cpu")
    page = run.root / "audit" / "audit.html"
    assert f"Audit: {page}" in output
    assert "relies on something outside the node." in output
    assert (run.root / "audit" / "tables" / "audit.csv").is_file()
    assert (run.root / "audit" / "figures" / "auc.png").is_file()
    assert "19 patients" in page.read_text(encoding="utf-8")  # one lacks the modality


def test_no_command_writes_into_the_folder_of_a_run_or_a_cohort(run, cohort, tmp_path):
    def content(folder):
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    held = content(run.root), content(cohort.root)
    for command in (("audit", run.root), ("explain", run.root), ("cohort", "stats", cohort.root)):
        for taken, what in ((run.root, "a run"), (cohort.root, "a cohort")):
            assert f"{taken}: holds {what}." in fusionln(*command, "--out", taken, code=1)
    assert f"{cohort.root}: holds a cohort." in fusionln(
        "run", "baseline", "--modality", "2d", "--cohort", cohort.root, "--out", cohort.root, code=1
    )
    assert (content(run.root), content(cohort.root)) == held


def as_pretraining(record: BaselineRecord) -> PretrainingRecord:
    """The record of a pre-training of the same time and machine."""
    origin = record.model_dump(include={"command", "started", "versions", "hardware"})
    tasks = TaskSummaries(tasks=(record.cohort,))
    return PretrainingRecord(settings=PretrainSettings(), cohort=tasks, simulated=True, **origin)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: run.checkpoint(1).unlink(), "best.safetensors: is missing"),
        (lambda run: run.predictions.unlink(), "not finished"),
        (lambda run: run.record.unlink(), "it is not a run"),
        (lambda run: run.write_record(as_pretraining(run.read_record())), "predicts nothing"),
    ],
)
def test_a_run_that_lacks_something_ends_in_one_message(run, spoil, message):
    spoil(run)
    assert message in fusionln("audit", run.root, code=1)
    assert not (run.root / "audit").exists()


def test_another_cohort_is_refused(run, make_cohort):
    other = make_cohort(22, name="other")
    output = fusionln("audit", run.root, "--cohort", other.root, code=1)
    assert "made on another cohort" in output


def test_a_cohort_that_moved_is_named(run, cohort, tmp_path):
    cohort.root.rename(tmp_path / "moved")
    assert str(cohort.root) in fusionln("audit", run.root, code=1)
    fusionln("audit", run.root, "--cohort", tmp_path / "moved", "--out", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "audit.html").is_file()


def test_a_head_with_clinical_columns_is_refused(run, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_ln.models.triplet.TrainedRun.clinical", ["age"])
    assert "also takes age" in fusionln("audit", run.root, code=1)


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "busi").is_dir(), reason="FUSIONLN_SHARED is not there")
def test_real_pictures_without_masks_are_audited(tmp_path):
    for folder in ("benign", "malignant", "normal"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for path in sorted((SHARED / "data" / "busi_256").rglob(f"{folder} (*).png"))[:10]:
            shutil.copy(path, tmp_path / "raw" / folder)
    fusionln("cohort", "import", "busi", tmp_path / "raw", "--out", tmp_path / "busi")
    run = train(load_cohort(tmp_path / "busi"), "2d", tmp_path)
    fusionln("audit", run.root)
    page = (run.root / "audit" / "audit.html").read_text(encoding="utf-8")
    assert "The cohort has no masks" in page
    assert "SIMULATED" not in page


def test_the_former_name_of_the_audit_works_and_says_the_new_one(run):
    output = fusionln("explain", "audit", run.root, "--device", "cpu")
    assert "`fusionln explain audit` is now `fusionln audit`" in output
    assert f"Audit: {run.root / 'audit' / 'audit.html'}" in output
