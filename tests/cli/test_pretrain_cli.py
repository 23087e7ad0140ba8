import pytest
from tiny import NETWORK, ONE_CPU, fusionln, refused

pytestmark = pytest.mark.usefixtures("short_pages")

TINY = (*NETWORK, *ONE_CPU[:2])


@pytest.mark.slow
def test_without_tasks_five_are_simulated_and_the_result_is_a_start(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_ln.cohort.default.ORGAN_PATIENTS", 30)
    output = fusionln("pretrain", "--out", tmp_path / "pre", "--order", "interleaved", *TINY)
    assert "simulating 5 organ tasks of 30 patients" in output
    assert output.count("SIMULATED") == 0
    assert "SIMULATED" in (tmp_path / "pre" / "report.html").read_text()
    assert f"--weights {tmp_path / 'pre'}" in output.splitlines()[-1]
    study = ["run", "baseline", "--modality", "2d", "--cohort", make_cohort().root, "--out", tmp_path / "out"]
    fusionln(*study, "--weights", tmp_path / "pre", "--workers", 1, *TINY)
    assert (tmp_path / "out" / "baseline-2d" / "report.html").is_file()
    assert "a pre-training, which predicts nothing" in fusionln("predict", tmp_path / "pre", "--2d", "x.png", code=1)
    assert "kept" in fusionln("pretrain", "--out", tmp_path / "pre", "--schedule", "interleaved", *TINY)


def test_tasks_are_cohort_folders(make_cohort, tmp_path):
    tasks = [make_cohort(patients, name=name, modalities=("2d",)) for name, patients in (("a", 12), ("b", 15))]
    arguments = [part for task in tasks for part in ("--task", task.root)]
    fusionln("pretrain", *arguments, "--out", tmp_path / "pre", *TINY)
    assert (tmp_path / "pre" / "task_a" / "predictions.parquet").is_file()
    message = fusionln("pretrain", *arguments, *arguments, "--out", tmp_path / "other", *TINY, code=1)
    assert "2 tasks are named 'a'" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "absent"], "not a cohort"),
        (["--backbone", "resent152"], "Did you mean 'resnet152'"),
        (["--epochs", "0"], "epochs"),
        (["--order", "mixed"], "sequential"),
    ],
)
def test_a_mistake_gets_one_message_and_no_traceback(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused("pretrain", *arguments)
