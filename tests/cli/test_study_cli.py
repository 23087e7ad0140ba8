import json

import pytest
from tiny import FIT_TABLE, ONE_CPU, fusionln, refused

pytestmark = pytest.mark.usefixtures("short_pages")

EXPERIMENT = """
name = "tiny"
question = "Does tuning help?"
cohort = "{cohort}"
heads = ["late-mean", "gated"]
modalities = ["2d", "elastic"]
[head]
width = 8
epochs = 1
batch_size = 8
copies = 1
grid = 1
{fit}"""
SPACE = """
[study]
trials = 2
[space.baseline]
lr = { low = 1e-4, high = 1e-2, log = true }
[space.head]
width = [8, 16]
"""


@pytest.fixture
def file(make_cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT.format(cohort=make_cohort(18).root, fit=FIT_TABLE) + SPACE)
    return path


@pytest.mark.slow
def test_run_show_and_apply_from_a_search_space_to_a_report(file, tmp_path):
    out = tmp_path / "runs" / "tiny"
    assert str(out.relative_to(tmp_path) / "study.journal") in fusionln("study", "run", file, *ONE_CPU)
    output = fusionln("study", "show", file)
    assert all(f"fusion-gated/fold-{fold}" in output for fold in (0, 1))
    page = (out / "study.html").read_text()
    assert all(word in page for word in ("History", "Slices", "Pruning", "a mild leak", "held-out", "Untuned"))
    assert page.count("<svg") == len(list((out / "figures").glob("*.png")))
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "")
    fusionln("study", "apply", file, *ONE_CPU)
    assert (out / "tuned.toml").is_file()
    assert "2 trials of each study" in (out / "report.html").read_text()
    tuned = json.loads((out / "tuned" / "fusion-gated" / "run.json").read_text())
    assert len(tuned["settings"]["training"]["folds"]) == 2
    before = (out / "tuned" / "fusion-gated" / "predictions.parquet").stat().st_mtime_ns
    fusionln("run", "experiment", file, *ONE_CPU)  # all in one; here it finds everything done
    assert (out / "tuned" / "fusion-gated" / "predictions.parquet").stat().st_mtime_ns == before


@pytest.mark.slow
def test_local_workers_share_a_study(file, tmp_path):
    file.write_text(file.read_text().partition("[space.head]")[0].replace('["2d", "elastic"]', '["2d"]'))
    two = ("--trials", 5, "--device", "cpu", "--workers", 2)
    fusionln("study", "run", file, *two)
    assert fusionln("study", "show", file).splitlines()[1].split()[:2] == ["baseline-2d", "5"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", ("run",), "no search space"),
        (SPACE.replace("lr =", "lrr ="), ("run",), "Did you mean"),
        (SPACE.replace("high = 1e-2", "high = 1e-4"), ("run",), "an empty range"),
        (SPACE, ("run", "--objectives", "auk"), "auk: unknown objective"),
        (SPACE, ("run", "--storage", "nonsense://x"), "not the URL of a database"),
        (SPACE, ("show",), "no study of tiny"),
        (SPACE, ("apply",), "no study of tiny"),
        (SPACE, ("apply", "--trial", "tiny/baseline-2d"), "is not as in"),
        (SPACE.replace("trials = 2", "trials = 0"), ("run",), "trials"),
    ],
)
def test_a_mistake_gets_one_message_and_no_traceback(file, text, arguments, message):
    cohort = file.read_text().split('cohort = "')[1].split('"')[0]
    file.write_text(EXPERIMENT.format(cohort=cohort, fit=FIT_TABLE) + text)
    assert message in refused("study", arguments[0], file, *arguments[1:])


def test_a_study_without_a_finished_trial_is_named(file, tmp_path, monkeypatch):
    from fusion_ln.errors import DivergedError
    from fusion_ln.tuning.objective import BaselineObjective

    def diverge(*args):
        raise DivergedError("The loss became nan.")

    monkeypatch.setattr(BaselineObjective, "fit", diverge)
    assert "no finished trial" in fusionln("study", "run", file, *ONE_CPU, code=1)
    assert "no finished trial" in fusionln("study", "show", file, code=1)


def test_a_missing_optuna_is_named(file, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'optuna" in fusionln("study", "show", file, code=1)
