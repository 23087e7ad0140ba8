import pytest
from tiny import fusionln, refused

from fusion_ln.cohort.phantom.organs import simulate_organs

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 1, "--batch-size", 4, "--device", "cpu"]


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


def test_tasks_are_cohort_folders(tmp_path):
    tasks = simulate_organs(tmp_path / "organs", n_patients=30, image_size=32)[:2]
    arguments = [part for task in tasks for part in ("--task", task.root)]
    fusionln("pretrain", *arguments, "--out", tmp_path / "pre", *TINY)
    assert (tmp_path / "pre" / "task_simulated-abdomen" / "predictions.parquet").is_file()
    message = fusionln("pretrain", *arguments, *arguments, "--out", tmp_path / "other", *TINY, code=1)
    assert "2 tasks are named 'simulated-abdomen'" in message


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
