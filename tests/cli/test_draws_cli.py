"""Repeats, parts and models of columns by the command: what is trained, where it lies, and which pages follow."""

from dataclasses import replace

import pandas as pd
import pytest
from tiny import OPTIONS, fusionln, refused

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.predictions import read_predictions

pytestmark = pytest.mark.usefixtures("short_pages")


@pytest.fixture
def cohort(make_cohort):
    """Two modalities and a clinical column."""
    made = make_cohort(24)
    made.patients["age"] = [40 + 7 * number % 31 for number in range(24)]
    two = replace(made, modalities=("2d", "cdfi"), images=made.images[made.images["modality"] != "elastic"])
    save_cohort(two)
    return two


@pytest.mark.slow
def test_repeats_train_the_models_of_columns_in_the_same_folds(cohort, tmp_path):
    out = tmp_path / "out"
    options = ("--repeats", "2", "--clinical-baseline", "age")
    output = fusionln("run", "fusion", "--cohort", cohort.root, "--out", out, *options, *OPTIONS)
    for page in ("report.html", "repeats.html"):
        assert str(out / page) in output
    table = pd.read_csv(out / "tables" / "metrics_over_repeats.csv")
    assert {"baseline-clinical", "baseline-chance", "fusion-late-mean-clinical"} <= set(table["model"])
    for folder in (out, out / "repeat-1"):
        pictures, columns = (read_predictions(folder / name / "predictions.parquet").table for name in (
            "baseline-2d", "baseline-clinical",
        ))  # fmt: skip
        assert pictures["fold"].tolist() == columns["fold"].tolist()


@pytest.mark.slow
def test_parts_end_in_a_learning_curve(cohort, tmp_path):
    out = tmp_path / "out"
    options = ("--modality", "2d", "--fractions", "0.34,0.7")
    output = fusionln("run", "baseline", "--cohort", cohort.root, "--out", out, *options, *OPTIONS)
    assert "learning_curve.html" in output
    points = pd.read_csv(next(out.rglob("learning_curve.csv")))
    assert points["part"].tolist() == [0.34, 0.7, 1.0]
    assert sorted(path.name for path in out.glob("fraction-*")) == ["fraction-0.34", "fraction-0.7"]


def test_draws_that_are_refused_leave_no_folder(cohort, tmp_path):
    out = tmp_path / "out"
    for options, message in (
        (("--repeats", "2", "--fractions", "0.5,0.7"), "give one of them"),
        (("--repeats", "2", "--clinical-baseline", "agee"), "no clinical column 'agee'"),
        (("--fractions", "0.5,0.51"), "keeps the same training patients"),
        (("--fractions", "0.5,0.5000001"), "0.5 and 0.5000001 are too near to each other"),
        (("--clinical-baseline", " ,"), "names no column"),
        (("--fractions", "50,70"), "less than or equal to 1"),
    ):
        assert message in refused("run", "fusion", "--cohort", cohort.root, "--out", out, *options, *OPTIONS)
    assert not out.exists()
