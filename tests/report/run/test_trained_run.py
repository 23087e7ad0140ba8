"""The report of runs that were really trained: it shows what training wrote."""

import json
import re

import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef, roc_auc_score
from tiny import CPU, FIT, HEAD, build_cohort, leave_blank

from fusion_ln.predictions import read_predictions
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.training.run import run_baselines_and_fusions

MODALITIES = ["2d", "cdfi"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A cohort, two baselines, a late fusion and a trained head; one patient lacks a modality."""
    folder = tmp_path_factory.mktemp("trained")
    cohort = build_cohort(folder, 30, absent={3: {"cdfi"}})
    heads = {"late-mean": None, "concat": HEAD.model_copy(update={"head": "concat"})}
    runs = run_baselines_and_fusions(
        cohort, MODALITIES, heads, FIT, folder / "runs", protocol="nested", seed=0, device=CPU
    )
    return cohort, runs


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The page, without its figures."""
    cohort, runs = trained
    with pytest.MonkeyPatch.context() as patch:
        leave_blank(patch)
        return write_results(tmp_path_factory.mktemp("report"), read_results(runs, cohort), title="Does fusion help?")


def table(page, name):
    return pd.read_csv(page.parent / "tables" / f"{name}.csv")


def test_figures_of_the_table_of_models_are_those_of_scikit_learn(page, trained):
    models = table(page, "models").set_index("model")
    assert sorted(models.index) == ["baseline-2d", "baseline-cdfi", "fusion-concat", "fusion-late-mean"]
    for run in trained[1]:
        held_out, row = read_predictions(run.predictions), models.loc[run.name]
        assert row["auc_ovr"] == pytest.approx(roc_auc_score(held_out.labels, held_out.probs, multi_class="ovr"))
        assert row["mcc"] == pytest.approx(matthews_corrcoef(held_out.labels, held_out.probs.argmax(axis=1)))
        assert row["auc_ovr_low"] < row["auc_ovr"] <= row["auc_ovr_high"]


def test_settings_and_times_are_those_of_the_records(page, trained):
    settings, times = table(page, "settings").set_index("setting"), table(page, "time")
    assert settings.loc["fit.backbone", "value"] == FIT.backbone
    assert settings.loc["training.width", "value"] == str(HEAD.width)
    for run in trained[1]:
        folds = json.loads((run.root / "run.json").read_text()).get("folds") or []
        own = times[times["model"] == run.name]
        assert own["epochs"].tolist() == [fold["epochs"] for fold in folds]
        assert own["seconds"].tolist() == [fold["seconds"] for fold in folds]
    assert len(times) == 6  # two folds of all but the late fusion


def test_losses_subsets_and_the_patient_without_a_picture_are_shown(page):
    text = page.read_text()
    assert all(f'id="{anchor}"' in text for anchor in ("learning", "subsets", "how", "differences", "sets"))
    skipped = table(page, "skipped").set_index("model")
    assert skipped.loc["baseline-cdfi", "patient_id"] == "P003"


def test_cells_and_headings_of_the_page_are_words_not_codes_of_tables(page):
    text = re.sub(r"<code>.*?</code>", "", page.read_text(), flags=re.DOTALL)
    cells = [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", text)]
    assert {"Mean of the classes", "LAC", "All classes"} <= set(cells)
    assert not {"all", "macro", "lac", "aps", "auc_ovr", "patient_id"} & set(cells)
    assert not [cell for cell in cells if "baseline-" in cell or "fusion-" in cell]
