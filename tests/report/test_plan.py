"""Page of a plan, from runs and from assumptions, by the command."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import fusionln, refused

from fusion_ln.errors import RunError
from fusion_ln.evaluation.delong import MACRO
from fusion_ln.evaluation.planning.patients import Need
from fusion_ln.predictions import read_predictions
from fusion_ln.report.experiment import Heading, write_runs
from fusion_ln.report.plan import caution, describe_needs
from fusion_ln.report.record import PageRecord


@pytest.mark.usefixtures("undrawn")
def test_two_runs_are_planned_from_with_a_caution(seven, tmp_path):
    fused, single = next(run for run in seven if "late-mean" in run.name), seven[0]
    output = fusionln("plan", fused.root, single.root, "--gain", "0.04", "--out", tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "plan.csv")
    classes = read_predictions(single.predictions).classes
    assert table["aim"].tolist() == ["AUC"] * 4 + ["gain"] * 4 + ["sensitivity"] * 3
    assert table["class"].tolist() == ["macro", *classes] * 2 + [*classes]
    text = (tmp_path / "plan.html").read_text()
    assert f"{table['patients'].iloc[4]:,.0f} patients" in text
    assert "The runs found a gain with a 95 % interval of" in text
    assert "SIMULATED" in text
    assert output.count("patients") == len(table) * 2


def test_a_loss_is_called_one():
    curve = lambda n: 0.0 * n  # noqa: E731
    need = Need("gain", MACRO, np.nan, -0.07, 0.8, curve, now=150, ends=(-0.12, -0.02))
    assert "a loss. Name the better run first" in caution(need)
    assert describe_needs([need]) == ["Gain in AUC of −0.070, power 0.800: no gain to find."]
    assert "it may be none" in caution(replace(need, ends=(-0.12, 0.02)))


def test_assumptions_alone_give_the_curves(tmp_path):
    output = fusionln("plan", "--auc", "0.9", "--other-auc", "0.85", "--out", tmp_path)
    assert "Gain in AUC of +0.050, power 0.800: " in output
    page = (tmp_path / "plan.html").read_text()
    assert page.count("<svg") == 2
    assert "NA&gt;" not in page
    assert "Patients now" not in page
    assert (tmp_path / "figures" / "plan_gain.png").is_file()


def test_runs_that_do_not_fit_are_refused(seven, seeded, tmp_path):
    assert "made on another cohort" in refused("plan", seven[0].root, seeded[1][0].root, "--out", tmp_path)
    (tmp_path / "link").symlink_to(seven[0].root)
    for again in (seven[0].root, seven[0].predictions, tmp_path / "link"):
        assert "given twice" in refused("plan", seven[0].root, again, "--out", tmp_path)
    assert "a plan compares two at most" in refused("plan", *(run.root for run in seven[:3]), "--out", tmp_path)


@pytest.mark.parametrize("name", ["run.json", "cohort.toml", "model.json"])
def test_a_folder_that_holds_something_else_gets_no_page(tmp_path, name):
    (tmp_path / name).touch()
    for command in (("plan", "--auc", "0.9"), ("compare", tmp_path)):
        assert f"{tmp_path}: holds a " in refused(*command, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["runs", "experiment", "comparison", "plan"])
def test_a_page_is_replaced_only_by_its_own_kind(tmp_path, kind):
    PageRecord(kind=kind, runs=()).write(tmp_path)
    held = (tmp_path / "report.json").read_bytes()
    for command in (("plan", "--auc", "0.9"), ("compare", tmp_path)):
        if command[0][:4] != kind[:4]:
            assert f"{tmp_path}: holds another page (of " in refused(*command, "--out", tmp_path)
    assert (tmp_path / "report.json").read_bytes() == held
    if kind in ("comparison", "plan"):
        with pytest.raises(RunError, match="holds another page"):
            write_runs(tmp_path, [], None, Heading("", ""))


def test_a_file_that_is_no_table_of_predictions_says_what_to_give(tmp_path):
    (tmp_path / "x.csv").write_text("a,b")
    assert "Give the folder of a run, or its table." in refused("plan", tmp_path / "x.csv", "--out", tmp_path / "p")
