"""Numbers beyond sense, names too long and files nested too deeply end in one message, before anything is made."""

import pytest
from tiny import refused

HUGE = 10**40


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run baseline --modality 2d --lr inf", "is not in the range 0<x<=100"),
        ("run baseline --modality 2d --lr 1e300", "is not in the range"),
        (f"run baseline --modality 2d --seed {HUGE}", "is not in the range"),
        (f"run baseline --modality 2d --set fit.head_width={HUGE}", "head_width: Input should be less than"),
        (f"run fusion --head concat --set head.lr={'[' * 5000}", "lr: Input should be a valid number"),
        ("cohort phantom --patients 100000000000 --out phantom", "is not in the range"),
        ("cohort phantom --missing nan --out phantom", "missing: Input should be"),
        ("cohort phantom --shortcut inf --out phantom", "is not in the range"),
        (f"cohort phantom --seed {HUGE} --out phantom", "is not in the range"),
        (f"cohort phantom --folds {HUGE} --out phantom", "neither a number from 2 to 9999 nor"),
        (f"cohort phantom --out {'x' * 300}", "File name too long"),
        ("bench fit --pictures 16 --batch-size 32", "more than the 16 --pictures"),
        (f"explain run --seed {HUGE}", "is not in the range"),
    ],
)
def test_a_number_beyond_sense_is_refused(tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    assert message in " ".join(refused(*command.split()).split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [-1]", "seeds.0: Input should be greater than or equal to 0"),
        (f"seeds = [{HUGE}]", "seeds.0: Input should be less than"),
        (f"fit = {'[' * 5000}{']' * 5000}", "nested too deeply"),
        (f"seeds = [{'9' * 5000}]", "cannot be read as TOML"),
        ("fit = { lr = nan }", "lr: Input should be a finite number"),
        ("study = { seconds = inf }", "study.seconds: Input should be a finite number"),
    ],
)
def test_an_experiment_file_of_such_values_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.toml").write_text(f'name = "e"\nquestion = "?"\nheads = []\n{text}\n')
    output = " ".join(refused("run", "experiment", "e.toml").split())
    assert message in output
    assert "e.toml" in output or "e: " in output
    assert [path.name for path in tmp_path.iterdir()] == ["e.toml"]
