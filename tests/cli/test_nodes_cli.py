"""A cohort of nodes from training to the page and its verification; what does not take nodes says so."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import OPTIONS, draw_few, fusionln, leave_blank, refused, write_cohort

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import VerifyError
from fusion_ln.runs import RunFolder
from fusion_ln.verify.runs import verify_run


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Cohort, Path]:
    """A cohort of 24 nodes of 12 patients, and a baseline on it."""
    folder, rng = tmp_path_factory.mktemp("nodes"), np.random.default_rng(0)
    names = [f"P{number // 2:02d}::{number % 2 + 1}" for number in range(24)]
    table = pd.DataFrame({"patient_id": names, "label": np.arange(24) // 2 % 3, "site": "a"})
    cohort = write_cohort(
        folder / "cohort",
        table,
        lambda label, _: (rng.integers(0, 90, (36, 40, 3)) + 60 * label).astype(np.uint8),
        modalities=("2d",),
    )
    with pytest.MonkeyPatch.context() as patch:
        leave_blank(patch)
        draw_few(patch)
        fusionln("run", "baseline", "--modality", "2d", "--cohort", cohort.root, "--out", folder / "runs", *OPTIONS)
    return cohort, folder / "runs" / "baseline-2d"


def test_a_study_of_nodes_is_trained_written_and_verified(study, undrawn):
    _, run = study
    table = pd.read_parquet(run / "predictions.parquet")
    assert table.columns[:2].tolist() == ["patient_id", "node_id"]
    assert len(table) == 24
    assert len(table[["patient_id", "fold"]].drop_duplicates()) == 12
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["by_patient"]) == set(metrics["pooled"])
    assert "every figure that follows from its tables agrees" in fusionln("verify", run)


def test_whole_patients_are_recomputed_with_the_cohort_alone(study, tmp_path):
    cohort, run = study
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    metrics = json.loads(copy.metrics.read_text())
    metrics["by_patient"]["accuracy"] = 0.123
    copy.metrics.write_text(json.dumps(metrics))
    assert "metrics.json" in verify_run(copy, None)
    with pytest.raises(VerifyError, match=r"by_patient\.accuracy"):
        verify_run(copy, cohort)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("freeze", "{run}", "--out", "{out}", "--licence", "MIT"), "its study is of nodes"),
        (("export", "{run}", "--onnx", "{out}.onnx"), "its study is of nodes"),
        (("plan", "{run}", "--out", "{out}"), "predicts nodes"),
    ],
)
def test_what_does_not_take_nodes_says_so(study, tmp_path, command, problem):
    cohort, run = study
    places = {"run": run, "cohort": cohort.root}
    message = refused(*(part.format(**places, out=tmp_path / "out") for part in command))
    assert problem in message
    assert not list(tmp_path.iterdir())
