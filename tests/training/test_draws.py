"""Training on several draws: a folder, folds and a seed each; what is finished is kept."""

import pytest
from tiny import CPU, FIT, HEAD

from fusion_ln.cohort.draws import draw_fractions
from fusion_ln.errors import CohortError, RunError, SettingsError
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.settings.draws import DrawSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training import draws as training_draws
from fusion_ln.training.crossval import new_baseline_record
from fusion_ln.training.draws import plan_draws, run_draws


def test_each_repeat_is_a_run_of_its_own_and_more_repeats_go_on(make_cohort, tmp_path):
    cohort = make_cohort(20)

    def run(repeats):
        draws = plan_draws(cohort, tmp_path, DrawSettings(repeats=repeats), seed=3)
        return [made for [made] in run_draws(draws, ["2d"], {}, FIT, protocol="nested", device=CPU)]

    first = run(2)
    written = [made.predictions.stat().st_mtime_ns for made in first]
    runs = run(3)
    assert [made.predictions.stat().st_mtime_ns for made in runs[:2]] == written
    assert [made.root.relative_to(tmp_path).as_posix() for made in runs] == [
        "baseline-2d", "repeat-1/baseline-2d", "repeat-2/baseline-2d",
    ]  # fmt: skip
    records = [made.read_prediction_record() for made in runs]
    assert [record.settings.seed for record in records] == [3, 4, 5]
    assert len({record.cohort.folds for record in records}) == 3
    assert {record.cohort.fingerprint for record in records} == {cohort.fingerprint}
    assert all(read_predictions(made.predictions).patients == sorted(cohort.patients["patient_id"]) for made in runs)


def test_a_draw_without_a_class_is_refused_before_the_first_fit(make_cohort, tmp_path):
    cohort = make_cohort(24, absent={number: {"2d"} for number in range(1, 24, 3) if number > 7})
    draws = draw_fractions(cohort, tmp_path, fractions=(0.3, 0.6), seed=0)
    with pytest.raises(CohortError, match="has no patient of class 'lymphoma' with a picture of 2d"):
        run_draws(draws, ["2d"], {}, FIT, protocol="nested", device=CPU)
    assert not [*tmp_path.glob("fraction-*"), *tmp_path.glob("baseline-*")]


@pytest.fixture
def three(make_cohort, tmp_path):
    """Three repeats, planned in a folder that is not there yet."""
    return plan_draws(make_cohort(20), tmp_path / "out", DrawSettings(repeats=3), seed=3)


def test_the_room_for_all_draws_is_asked_before_the_first_fit(three, tmp_path, monkeypatch):
    asked = []

    def refuse(needs):
        asked.extend(need.file for need in needs)
        raise RunError("too little room.", "Free some.")

    monkeypatch.setattr(training_draws, "check_room", refuse)
    with pytest.raises(RunError, match="too little room"):
        run_draws(three, ["2d", "cdfi"], {"concat": HEAD}, FIT, protocol="nested", device=CPU)
    assert len({file for file in asked if file.name == "best.safetensors"}) == 3 * 2 * 2
    assert not (tmp_path / "out").exists()


def test_a_draw_that_holds_another_run_is_named_before_the_first_fit(three, tmp_path):
    other = RunFolder(three[2].folder / "baseline-2d")
    other.write_record(new_baseline_record(three[2].cohort, BaselineSettings(modality="2d", fit=FIT, seed=99)))
    with pytest.raises(RunError, match=r"repeat-2/baseline-2d: holds a run with other settings:\n.*99 there, 5 asked"):
        run_draws(three, ["2d"], {}, FIT, protocol="nested", device=CPU)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["repeat-2"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repeats": 2, "fractions": (0.25, 0.5)}, "give one of them"),
        ({"fractions": (0.5, 1)}, "two parts below 1"),
        ({"fractions": (0.5, 1.5)}, r"fractions.1: Input should be less than or equal to 1"),
        ({"fractions": ("0.5", "half")}, r"fractions.1: Input should be a valid number"),
    ],
)
def test_draws_that_cannot_be_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        DrawSettings.read(values, "options")
