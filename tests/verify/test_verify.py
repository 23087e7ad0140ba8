"""Runs made of drawn logits and really fused: what agrees, and every way to change one digit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import FIT, build_cohort, draw_few, fusionln, leave_blank, refused

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.draws import draw_repeats, save_draws
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions, predictions_from_logits, write_predictions
from fusion_ln.records.kinds import BaselineRecord, PretrainingRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import FoldRecord, TaskSummaries, UnitCounts
from fusion_ln.report.experiment import Heading, write_runs
from fusion_ln.runs import RunFolder
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.clinical import run_beside
from fusion_ln.training.fusion.late import fuse_late

EPOCHS = 3


def write_baseline(cohort: Cohort, root: Path, modality: str, seed: int) -> RunFolder:
    """A finished baseline whose logits are noise around the true class."""
    rng, run = np.random.default_rng(seed), RunFolder(root / f"baseline-{modality}")
    labels = cohort.patients.set_index("patient_id")["label"]

    def predict(patients: list[str], fold: int) -> pd.DataFrame:
        true = labels[patients].to_numpy()
        logits = rng.normal(size=(len(true), 3)) + 1.5 * np.eye(3)[true]
        return predictions_from_logits(cohort.classes, patients, np.full(len(true), fold), true, logits).table

    folds = range(cohort.n_folds)
    out = Predictions(
        cohort.classes, pd.concat([predict(cohort.held_out(f), f) for f in folds]).sort_values("patient_id")
    )
    history = [
        {"fold": f, "epoch": e, "train_loss": 1.0, "val_loss": [1.0, 0.8, 0.9][e]} for f in folds for e in range(EPOCHS)
    ]
    fit = {"seconds": 1.0, "pictures_per_second": 9.0, "epochs": EPOCHS, "best_epoch": 1, "precision": "32-true"}
    run.write_record(
        BaselineRecord(
            settings=BaselineSettings(modality=modality, fit=FIT),
            cohort=cohort.describe(),
            cohort_path=str(cohort.root),
            units=UnitCounts(predicted=len(out.table), skipped=0),
            folds=tuple(FoldRecord(fold=f, **fit) for f in folds),
            **new_origin(),
        )
    )
    write_parquet(run.history, pd.DataFrame(history))
    write_predictions(
        run.inner_predictions,
        Predictions(cohort.classes, pd.concat([predict(cohort.training_part(f)[1], f) for f in folds])),
    )
    write_json(run.metrics, describe_folds(out, out.patients))
    write_predictions(run.predictions, out)
    return run


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """Two baselines, their late fusions, their report, a comparison, models of a column, and a plan."""
    root = tmp_path_factory.mktemp("verify")
    cohort, runs = build_cohort(root, 30), root / "runs"
    cohort = replace(cohort, patients=cohort.patients.assign(age=40.0 + 7 * np.arange(30) % 31))
    save_cohort(cohort)
    members = [write_baseline(cohort, runs, m, seed) for seed, m in enumerate(("2d", "elastic"))]
    fusions = [RunFolder(runs / f"fusion-{head}") for head in ("late-mean", "late-stacked")]
    for fusion in fusions:
        fuse_late(cohort, members, fusion.name.removeprefix("fusion-"), fusion)
    with pytest.MonkeyPatch.context() as patch:
        leave_blank(patch)
        draw_few(patch)
        write_runs(runs, [*members, *fusions], cohort, Heading("Does it?", "Q?"))
        run_beside(cohort, ["age"], [fusions[1]], root / "columns")
        fusionln("plan", fusions[0].root, members[0].predictions, "--out", root / "plan")
        fusionln("compare", fusions[0].root, members[0].predictions, "--out", root / "comparison")
    return root


@pytest.fixture
def root(original, tmp_path, monkeypatch) -> Path:
    """A copy to be changed; the cohort stays where it is. Its pages are made again without figures, as they were."""
    draw_few(monkeypatch)
    leave_blank(monkeypatch)
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def edit_table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        change(pd.read_parquet(path)).to_parquet(path, index=False)

    return edit


def edit_text(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def move(column: str, change: Callable[[object], object], row: int = 3) -> Callable[[Path], None]:
    """Change one cell."""

    def edit(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = change(table.loc[row, column])
        return table

    return edit_table(edit)


@edit_table
def move_logits(table: pd.DataFrame) -> pd.DataFrame:
    """Add one number to all logits of a patient: the probabilities stay."""
    table.loc[3, [c for c in table if c.startswith("logit_")]] += 0.1
    return table


def change_twelfth_digit(path: Path, key: str) -> None:
    """Change the twelfth digit of a number of the first fold."""
    metrics = json.loads(path.read_text())
    metrics["folds"][0][key] *= 1 + 1e-11
    path.write_text(json.dumps(metrics))


def change_metric(path: Path) -> None:
    metrics = json.loads(path.read_text())
    metrics["folds"][1][PRIMARY] -= 0.001
    path.write_text(json.dumps(metrics))


def test_folders_as_they_were_written_agree_and_name_what_is_left(root):
    shown = fusionln("verify", root / "runs")
    for place in ("cohort tiny", "baseline-2d", "baseline-elastic", "fusion-late-mean", ". (report)"):
        assert f"\n{place} " in f"\n{shown}"
    assert "90 pictures" in shown
    assert "fused again" in shown
    for left in ("seconds", "memory", "versions", "hardware", "logits of networks", "figures"):
        assert left in shown
    compared = fusionln("verify", root / "comparison")
    assert "(report)" in compared
    assert "fusion-late-mean" in compared


def test_a_pretraining_among_the_runs_is_left_once_and_its_page_with_it(root):
    run = RunFolder(root / "runs" / "pretraining")
    cohort = RunFolder(root / "runs" / "baseline-2d").read_prediction_record().cohort
    tasks = TaskSummaries(tasks=(cohort,))
    run.write_record(PretrainingRecord(settings=PretrainSettings(), cohort=tasks, simulated=True, **new_origin()))
    run.report.write_text("<p>What was learnt</p>")
    lines = [line for line in fusionln("verify", root / "runs").splitlines() if line.startswith("  pretraining")]
    assert lines == ["  pretraining: a pre-training, which has no table that its figures follow from"]


@pytest.mark.parametrize(
    ("file", "edit", "place"),
    [
        ("metrics.json", change_metric, f"folds[1].{PRIMARY}: found"),
        ("predictions.parquet", move("prob_benign", lambda p: p + 1e-6), "patient_id P003, column prob_benign: found"),
        ("predictions.parquet", move("fold", lambda f: 1 - f), "patient_id P003, column fold: found"),
        ("predictions.parquet", move("label", lambda c: (c + 1) % 3), "patient_id P003, column label: found"),
        ("predictions.parquet", edit_table(lambda table: table.drop(index=3)), "units.predicted: found 30"),
        ("inner_predictions.parquet", move("fold", lambda f: 1 - f), "column fold: found"),
        (
            "history.parquet",
            move("val_loss", lambda v: v - 0.2, row=2),
            "fold 0, best_epoch: found 1; expected 2",
        ),
        ("run.json", edit_text('"predicted": 30', '"predicted": 31'), "units.predicted: found 31; expected 30"),
    ],
    ids=["metric", "probability", "fold", "label", "patient", "inner fold", "history", "record"],
)
def test_a_baseline_changed_by_one_digit_is_found(root, file, edit, place):
    run = root / "runs" / "baseline-2d"
    edit(run / file)
    message = refused("verify", run)
    assert place in message
    assert str(run) in message


def test_the_tables_of_a_fold_are_compared_with_those_of_the_run(root):
    run = RunFolder(root / "runs" / "baseline-2d")
    for name in ("predictions", "inner_predictions", "history"):
        table = pd.read_parquet(getattr(run, name))
        write_parquet(run.fold(1) / f"{name}.parquet", table[table["fold"] == 1])
    assert "tables of the folds" in fusionln("verify", run.root)
    move("logit_benign", lambda logit: logit + 1e-6, row=0)(run.fold(1) / "predictions.parquet")
    assert "fold_1/predictions.parquet: patient_id P00" in refused("verify", run.root)


@pytest.mark.parametrize(
    ("file", "edit", "place"),
    [
        ("predictions.parquet", move_logits, "patient_id P003, column logit_benign: found"),
        ("subset_predictions.parquet", move_logits, "column logit_benign: found"),
        (
            "run.json",
            edit_text('"intercept": [\n        ', '"intercept": [\n        1'),
            "learnt[0].intercept[0]: found",
        ),
    ],
    ids=["logits", "subsets", "learnt"],
)
def test_a_late_fusion_that_its_members_do_not_give_is_found(root, file, edit, place):
    run = root / "runs" / "fusion-late-stacked"
    edit(run / file)
    assert place in refused("verify", run)


@pytest.mark.parametrize(
    ("file", "old", "new", "place"),
    [
        ("comparison.csv", ",0.", ",1.", "comparison.csv: line 2 ("),
        ("report.html", ">0.", ">1.", "report.html: line"),
    ],
)
def test_a_table_or_page_changed_by_one_digit_is_found(root, file, old, new, place):
    edit_text(old, new)(root / "comparison" / file)
    assert place in refused("verify", root / "comparison")


@pytest.mark.parametrize(
    ("run", "file", "edit", "place"),
    [
        ("baseline-clinical", "predictions.parquet", move_logits, "patient_id P003, column logit_benign: found"),
        ("baseline-chance", "inner_predictions.parquet", move_logits, "column logit_benign: found"),
        ("fusion-late-stacked-clinical", "predictions.parquet", move_logits, "patient_id P003, column logit_benign"),
        ("fusion-late-stacked-clinical", "run.json", edit_text('"weights": [\n        ', '"weights": [\n        1'),
         "learnt[0].weights[0]: found"),
    ],
)  # fmt: skip
def test_a_model_of_columns_changed_by_one_digit_is_found(root, run, file, edit, place):
    edit(root / "columns" / run / file)
    assert place in refused("verify", root / "columns" / run)


def test_a_digit_beyond_the_ninth_is_found_and_said_to_be_small(root):
    run = root / "runs" / "baseline-2d"
    change_twelfth_digit(run / "metrics.json", PRIMARY)
    message = refused("verify", run)
    assert f"{PRIMARY}: found" in message
    assert "So small a difference may be other versions of packages" in message


@pytest.mark.parametrize(("file", "old", "new"), [("tables/plan.csv", ",0.", ",1."), ("plan.html", ">0.", ">1.")])
def test_a_plan_is_planned_again(root, file, old, new):
    assert "(report)" in fusionln("verify", root / "plan")
    edit_text(old, new)(root / "plan" / file)
    assert f"{Path(file).name}: line" in refused("verify", root / "plan")


def test_models_of_columns_as_they_were_written_agree(root):
    assert fusionln("verify", root / "columns").count("fitted again") == 3


def test_a_changed_picture_is_found_and_an_absent_cohort_is_said(root, tmp_path):
    run, cohort = root / "runs" / "baseline-2d", tmp_path / "cohort"
    shutil.copytree(root / "tiny", cohort)
    next((cohort / "images").glob("P000-2d-*")).write_bytes(b"another")
    assert "SHA-256 of the picture: found" in refused("verify", run, "--cohort", cohort)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"cohort_path": "/nowhere"}))
    assert "it is not at /nowhere; name it with --cohort DIR" in fusionln("verify", run)


def test_what_holds_no_run_is_refused(tmp_path):
    assert "holds neither a run nor the record of a page" in refused("verify", tmp_path)


@pytest.mark.parametrize("named", [False, True])
def test_runs_on_further_draws_are_checked_by_their_own_folds(make_cohort, tmp_path, named):
    draws = draw_repeats(make_cohort(30), tmp_path / "runs", repeats=2, seed=0)
    save_draws(draws[1:])
    for draw in draws:
        write_baseline(draw.cohort, draw.folder, "2d", 0)
    output = fusionln("verify", tmp_path / "runs", *(("--cohort", draws[0].cohort.root) if named else ()))
    for place in ("baseline-2d", "repeat-1/baseline-2d"):
        line = next(line for line in output.splitlines() if line.startswith(f"{place} "))
        assert "folds" in line
    assert output.count("hashes of its tables") == 1
