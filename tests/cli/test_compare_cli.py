"""`fusionln compare` on run folders and bare tables, and every bad input with its message."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import invoke

from fusion_ln.files.atomic import TEMPORARY
from fusion_ln.files.locks import LOCK
from fusion_ln.predictions import Predictions, predictions_from_logits, write_predictions
from fusion_ln.report import comparison
from fusion_ln.report.run.reading import read_inputs

REFERENCE = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared")) / "reference"
CLASSES = ("benign", "lymphoma", "metastatic")
COLUMNS = [
    "model_a", "model_b", "class", "auc_a", "auc_b", "difference", "ci_low", "ci_high", "bootstrap_p", "delong_z",
    "delong_p", "p", "p_holm", "p_bh", "family",
]  # fmt: skip


def predict(skill: float, *, n: int = 40, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    logits = rng.normal(size=(n, len(classes))) + skill * np.eye(len(classes))[labels]
    return predictions_from_logits(classes, [f"P{i:03d}" for i in range(n)], np.arange(n) % 5, labels, logits)


def write(path: Path, predictions: Predictions) -> str:
    write_predictions(path, predictions)
    return str(path)


def run(*arguments: str) -> tuple[int, str]:
    return invoke("compare", *arguments)


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good.parquet", predict(2.0))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    a, b = (
        write(folder / f"{name}.parquet", predict(skill, seed=i))
        for i, (name, skill) in enumerate([("a", 2), ("b", 1)])
    )
    (folder / "out" / "figures").mkdir(parents=True)
    (folder / "out" / "figures" / f".auc.png.killed{TEMPORARY}").touch()
    return run(a, b, "--out", str(folder / "out")), folder / "out"


def test_what_a_killed_comparison_left_is_swept(compared):
    assert not list(compared[1].rglob(f"*{TEMPORARY}"))


def test_tables_and_page_are_written_by_one_comparison_at_a_time(compared, tmp_path, monkeypatch):
    _, out = compared
    held = []
    tables = [out.parent / name for name in ("a.parquet", "b.parquet")]
    monkeypatch.setattr(comparison, "write_results", lambda place, *_, **__: held.extend(place.glob(LOCK)))
    comparison.write_comparison(tmp_path, tables, reference=None, cohort=None)
    assert held == [tmp_path / LOCK]


def test_bare_tables_give_the_tables_of_the_contract_and_a_report(compared):
    (code, output), out = compared
    assert code == 0
    assert all(f"Wrote {out / name}" in output for name in ("comparison.csv", "models.csv", "report.html"))
    table = pd.read_csv(out / "comparison.csv")
    assert table.columns.tolist() == COLUMNS
    assert table["class"].tolist() == [*CLASSES, "macro"]
    assert set(table["model_a"]) == {"a"}  # the last one is the reference where nothing tells the best
    models = pd.read_csv(out / "models.csv")
    assert models["model"].tolist() == ["b", "a"]
    assert {"auc_ovr", "auc_ovr_low", "auc_ovr_high", "ece", "recall:lymphoma_low"} <= set(models.columns)
    assert not models.loc[:, [not str(c).endswith(("_low", "_high")) for c in models]].isna().any().any()


def test_a_bare_table_gives_the_sections_it_can_and_says_what_is_left_out(compared):
    page = (compared[1] / "report.html").read_text()
    assert 'id="differences"' in page
    assert 'id="sets"' in page
    assert "no inner validation predictions" in page
    assert 'id="subgroups"' not in page
    assert 'id="examples"' not in page
    assert "simulated" not in page.partition("</style>")[2].lower()
    assert (compared[1] / "model_card.md").read_text().startswith("---\n")


def test_the_comparison_of_two_tables_on_disk_agrees_with_r(tmp_path):
    if not REFERENCE.is_dir():
        pytest.skip(f"{REFERENCE} is not there; set FUSIONLN_SHARED")
    held = pd.read_csv(REFERENCE / "two_models_586.csv")
    expected = json.loads((REFERENCE / "two_models_586.r.json").read_text())["delong"]
    paths = []
    for model in "ab":
        table = held[["patient_id", "label"]].assign(fold=0)
        for name in CLASSES:
            table[f"prob_{name}"] = held[f"{model}_{name}"]
            table[f"logit_{name}"] = np.log(table[f"prob_{name}"])
        paths.append(tmp_path / f"{model}.parquet")
        table.to_parquet(paths[-1])
    found = read_inputs(paths, n_resamples=100).comparison.comparison
    for row, of_class in zip(found.itertuples(), expected, strict=False):
        values = [row.auc_a, row.auc_b, row.delong_z, row.delong_p]
        assert values == pytest.approx([of_class[key] for key in ("auc_a", "auc_b", "z", "p")], rel=5e-7)


def test_the_reference_may_be_named(good, tmp_path):
    other = write(tmp_path / "other.parquet", predict(1.0, seed=1))
    results = read_inputs([Path(good), Path(other)], reference=Path(good), n_resamples=100)
    assert set(results.comparison.comparison["model_b"]) == {"good"}
    assert (results.reference.name, results.candidate.name) == ("good", "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prevalence", "benign=0.7,lymphoma=0.1,metastatic=0.3"), "the shares sum to 1.1; expected 1"),
        (("--prevalence", "benin=1"), "benin: unknown class"),
        (("--costs", "metastatic:benin=3"), "benin: unknown class"),
        (("--costs", "nowhere.csv"), "nowhere.csv: no such file"),
    ],
)
def test_a_prevalence_or_costs_that_do_not_fit_the_classes_are_refused(good, tmp_path, options, message):
    other = write(tmp_path / "other.parquet", predict(1.0, seed=1))
    code, output = run(good, other, *options, "--out", str(tmp_path / "out"))
    assert code == 1
    assert message in output
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
def test_another_population_and_costs_reach_the_page_and_its_record(good, tmp_path):
    other = write(tmp_path / "other.parquet", predict(1.0, seed=1))
    for name, seed in (("good", 2), ("other", 3)):
        write(tmp_path / f"inner_{name}.parquet", predict(1.5, n=60, seed=seed))
    given = ("--prevalence", "benign=0.7,lymphoma=0.1,metastatic=0.2", "--costs", "metastatic:benign=10")
    code, output = run(good, other, *given, "--out", str(tmp_path / "out"))
    assert code == 0, output
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="prevalence"' in page
    assert "exact only if pictures of a class look alike in both places" in page
    assert 'id="costs"' in page
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (record["prevalence"], record["costs"]) == given[1::2]


def change(predictions: Predictions, **columns: object) -> Predictions:
    return Predictions(predictions.classes, predictions.table.assign(**columns))


def bad_inputs() -> dict[str, tuple[Predictions, str]]:
    base = predict(1.0, seed=1)
    few = base.of(["P000", "P001"])
    lost = base.of([p for p, label in zip(base.patients, base.labels, strict=True) if label != 1])
    return {
        "other folds": (change(base, fold=(base.folds + 1) % 5), "another fold"),
        "other labels": (change(base, label=(base.labels + 1) % 3), "another label"),
        "other patients": (predict(1.0, n=37, seed=1), "37 are in both"),
        "no common patient": (change(base, patient_id=[f"Q{i:03d}" for i in range(40)]), "0 are in both"),
        "other label order": (predict(1.0, seed=1, classes=CLASSES[::-1]), "another order"),
        "duplicate patients": (change(base, patient_id=["P000", *base.patients[:-1]]), "'P000' twice"),
        "sums to more than 1": (change(base, prob_benign=base.probs[:, 0] + 2e-3), "sum to 1"),
        "two patients": (few, "2 are in both"),
        "a class without patients": (lost, "are in both"),
    }


@pytest.mark.parametrize("what", bad_inputs())
def test_predictions_that_do_not_fit_are_refused_in_one_clear_message(good, tmp_path, what):
    predictions, message = bad_inputs()[what]
    code, output = run(good, write(tmp_path / "bad.parquet", predictions), "--out", str(tmp_path / "out"))
    assert code == 1
    assert message in output
    assert "Error: " in output
    assert "Traceback" not in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kept", "message"),
    [(["P000", "P001"], "class 'benign' has 1 of the 2 patients"), (None, "class 'lymphoma' has 0")],
)
def test_too_few_patients_of_a_class_are_named(tmp_path, kept, message):
    paths = []
    for seed in (0, 1):
        base = predict(1.0, seed=seed)
        chosen = kept or [p for p, label in zip(base.patients, base.labels, strict=True) if label != 1]
        paths.append(write(tmp_path / f"m{seed}.parquet", base.of(chosen)))
    code, output = run(*paths, "--out", str(tmp_path / "out"))
    assert code == 1
    assert message in output


def test_one_model_is_refused(good):
    code, output = run(good)
    assert code == 1
    assert "one model only" in output


def test_the_same_model_twice_is_refused(good):
    code, output = run(good, good)
    assert code == 1
    assert "given twice" in output


def test_a_reference_that_was_not_given_is_refused(good, tmp_path):
    other, third = (write(tmp_path / f"{name}.parquet", predict(1.0, seed=1)) for name in ("other", "third"))
    code, output = run(good, other, "--reference", third)
    assert code == 1
    assert "none of the models given (good, other)" in output


def test_a_file_that_is_no_table_and_a_folder_that_is_no_run_are_refused(good, tmp_path):
    (tmp_path / "text.parquet").write_text("no table")
    assert "cannot be read as a table" in run(good, str(tmp_path / "text.parquet"))[1]
    (tmp_path / "folder").mkdir()
    assert "it is not a run" in run(good, str(tmp_path / "folder"))[1]


def test_a_run_folder_is_not_written_over(good, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({}))
    code, output = run(good, good, "--out", str(tmp_path / "run"))
    assert code == 1
    assert "holds a run" in output


def test_predictions_that_do_not_fit_the_named_cohort_are_refused(good, make_cohort, tmp_path):
    other = write(tmp_path / "other.parquet", predict(1.0, seed=1))
    code, output = run(good, other, "--cohort", str(make_cohort(20).root))
    assert code == 1
    assert "unknown to the cohort tiny" in output
