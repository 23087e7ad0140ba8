"""Fits on a Ray cluster of two nodes on this machine."""

import hashlib
import signal
import sys
from pathlib import Path

import pytest
from tiny import CPU, FIT, OPTIONS, options_with, refused, started

from fusion_ln.compute import ray as engine
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.environment import Environment
from fusion_ln.compute.threads import threads_per_fit
from fusion_ln.errors import DivergedError, RunError
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.crossval import begin
from fusion_ln.training.fold_files import finish

EPOCHS = 150  # so that a fit still runs when its node is lost
LONG = FIT.model_copy(update={"epochs": EPOCHS, "patience": EPOCHS})
SETTINGS = BaselineSettings(modality="2d", fit=LONG)
LONG_OPTIONS = ["--epochs", EPOCHS, "--patience", EPOCHS, "--precision", "32-true", "--set", "fit.head_width=8"]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "ray", "--address", "127.0.0.1:1"], "no Ray cluster can be joined at 127.0.0.1:1"),
        (["--engine", "ray", "--address", "nowhere"], "expected HOST:PORT"),
        (["--engine", "ray"], "no Ray cluster can be joined at this machine"),
        (["--engine", "ray", "--devices", "2"], "does not go with --devices or --nodes"),
        (["--address", "127.0.0.1:1"], "Give `--engine ray` too"),
    ],
)
def test_a_cluster_that_cannot_be_had_gets_one_message(make_cohort, tmp_path, monkeypatch, arguments, message):
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda *args: None, raising=False)
    assert_refused(make_cohort, tmp_path, arguments, message)


def test_without_ray_its_extra_is_named(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert_refused(make_cohort, tmp_path, ["--engine", "ray"], 'pip install "fusion_ln[ray]"')


def assert_refused(make_cohort, folder, arguments, message):
    options = ["--cohort", make_cohort(20).root, "--out", folder / "out", *OPTIONS, *arguments]
    assert message in refused("run", "baseline", "--modality", "2d", *options)
    assert not (folder / "out").exists()


def test_a_machine_that_sees_other_files_is_named_with_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "run.json"
    file.write_text("one")
    environment = Environment.capture([Path("run.json")])
    monkeypatch.chdir("/")
    environment.apply()
    assert Path.cwd() == tmp_path
    file.write_text("another")
    with pytest.raises(RunError, match=r"run\.json holds another file"):
        environment.apply()
    file.unlink()
    with pytest.raises(RunError, match=r"run\.json is not there"):
        environment.apply()


def test_a_cache_folder_that_a_machine_names_itself_is_kept(monkeypatch):
    monkeypatch.setenv("FUSIONLN_CACHE", "/of/the/command")
    environment = Environment.capture([])
    monkeypatch.setenv("FUSIONLN_CACHE", "/of/the/node")
    environment.apply()
    monkeypatch.delenv("FUSIONLN_CACHE")
    assert Environment.capture([]).cache is None
    environment.apply()
    assert Environment.capture([]).cache == "/of/the/command"


# A process that has joined a cluster finds it again: what is refused without one stands above.
@pytest.fixture(scope="module")
def cluster():
    """A head with one core, to which nodes can be added; nothing leaves the machine."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        started = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        yield started
        ray.shutdown()
        started.shutdown()


def digests(run):
    files = [run.predictions, run.inner_predictions, run.checkpoint(0), run.checkpoint(1)]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


@pytest.mark.slow
def test_neither_a_killed_command_nor_a_lost_node_changes_the_predictions(make_cohort, tmp_path, cluster, capfd):
    """Kill -9 of the command amid its fits; then, started again, of one of two nodes: the same bytes as without Ray."""
    cohort = make_cohort(20)
    run = RunFolder(tmp_path / "there" / "baseline-2d")
    doomed = cluster.add_node(**NODE)
    arguments = ["--cohort", cohort.root, "--out", run.root.parent, "--engine", "ray", "--address", cluster.address]
    command = ["run", "baseline", "--modality", "2d", *arguments, *options_with(*LONG_OPTIONS)]
    prompt = "import fusion_ln.progress; fusion_ln.progress.SECONDS_BETWEEN_LINES = 0; "
    with started(f"{prompt}from fusion_ln.cli.main import cli; cli()", *command) as (killed, output):
        assert any("validation loss" in line for line in output), "no epoch ended"
        killed.kill()
        killed.join()
        assert killed.exitcode == -signal.SIGKILL

    jobs = begin(cohort, SETTINGS, run, DeviceSettings(device="cpu", engine="ray", address=cluster.address))
    assert len(jobs) == 2
    notes = []

    def step(note):
        notes.append(note)
        if all(any(f"fold {fold}" in note for note in notes) for fold in (0, 1)) and doomed in cluster.list_all_nodes():
            cluster.remove_node(doomed, allow_graceful=False)

    engine.run(jobs, threads_per_fit(cohort.n_folds), step)
    finish(run, cohort.patients["patient_id"])
    assert "was lost; goes on" in capfd.readouterr().err
    assert len(notes) == 2 * EPOCHS  # an epoch that was reported before the loss is not reported again

    here = RunFolder(tmp_path / "here")
    run_jobs(begin(cohort, SETTINGS, here, CPU), shares=cohort.n_folds)
    finish(here, cohort.patients["patient_id"])
    assert digests(run) == digests(here)


@pytest.mark.slow
def test_an_error_of_a_fit_is_told_once_and_ends_the_others(make_cohort, tmp_path, cluster):
    cohort = make_cohort(20)
    device = DeviceSettings(device="cpu", engine="ray", address=cluster.address)
    diverging = BaselineSettings(modality="2d", fit=LONG.model_copy(update={"lr": 100, "weight_decay": 100}))
    with pytest.raises(DivergedError, match="loss"):
        run_jobs(begin(cohort, diverging, RunFolder(tmp_path / "run"), device), shares=2)
    arguments = ["--cohort", cohort.root, "--engine", "ray", "--address", cluster.address, "--out", tmp_path / "out"]
    options = options_with(*LONG_OPTIONS, "--device", "cuda")
    message = refused("run", "baseline", "--modality", "2d", *arguments, *options)
    assert "no node of the cluster offers a GPU" in message
