"""Fits that two processes share: started by Fabric's own launcher, and by torchrun as if on two machines."""

import json
import os
import runpy
import signal
import socket
import sys
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny import finished, fusionln, handled, options_with, refused, started

from fusion_ln.compute import ddp
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings

ONE_FIT = """
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import fusion_ln.training.pretraining.multitask
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.errors import DivergedError
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.batches import Batches, as_network_input
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import FitSettings
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.training.fit import fit
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.compute.ddp import init_ranks
from fusion_ln.training.tasks import PictureTask

device, folder = DeviceSettings(device="cpu", devices=int(sys.argv[1])), Path(sys.argv[2])
fabric = make_fabric(device, "32-true")
rng = np.random.default_rng(0)
patients, labels = np.array([f"p{i:02d}" for i in range(24)]), np.arange(24) % 3
bank = ImageBank(rng.integers(0, 255, (24, 3, 8, 8), dtype=np.uint8), patients, labels)

class Plain(PictureTask):
    poisoned = False

    def loss(self, model, batch, device):
        loss = F.cross_entropy(model(as_network_input(batch.pictures)), batch.labels)
        return loss * float("nan") if self.poisoned and "p07" in batch.patients else loss

def learn(name, **changes):
    torch.manual_seed(0)
    task = Plain("2d", nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 3)))
    train = Batches(bank, np.arange(18), 6, seed=1, oversample=True, share=(fabric.global_rank, fabric.world_size))
    options = {"settings": FitSettings(epochs=4, lr=0.01, batch_size=6), "seed": 3, "fabric": fabric}
    return fit(task, train, Batches(bank, np.arange(18, 24), 6), folder=folder / name, **options)

result = learn("good")
Plain.poisoned = True
try:
    learn("bad")
except DivergedError as error:
    problem = error.problem
if fabric.is_global_zero:
    losses = [(epoch.train_loss, epoch.val_loss, epoch.pictures) for epoch in result.history]
    torch.save({"weights": result.weights, "losses": losses, "problem": problem}, folder / "result.pt")
fabric.barrier()

# A pre-training, in which the head of one task rests while the other's learns.
fusion_ln.training.pretraining.multitask.augment = lambda pictures, modality, strength=1.0: pictures
if init_ranks(device):
    tiny = FitSettings(backbone="test_vit", image_size=32, epochs=2, batch_size=4, lr=0.001, precision="32-true")
    cohorts = [load_cohort(Path(root)) for root in sys.argv[3:]]
    pretrain(cohorts, PretrainSettings(fit=tiny, order="interleaved"), RunFolder(folder / "pretraining"), device)
"""

# Fabric starts the other rank by the arguments of this one.
SCRIPT = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_at_the_same_global_batch(make_cohort, tmp_path, monkeypatch):
    """Without batch statistics and random augmentation: the same losses and weights, but for rounding."""
    script, folders = tmp_path / "one_fit.py", [tmp_path / "alone", tmp_path / "shared"]
    script.write_text(ONE_FIT)
    for folder in folders:
        folder.mkdir()
    tasks = [str(make_cohort(n, name=name, modalities=("2d",)).root) for name, n in (("a", 20), ("b", 26))]
    monkeypatch.setattr(
        "fusion_ln.training.pretraining.multitask.augment", None
    )  # the script's own; put back in the end
    monkeypatch.setattr(sys, "argv", [str(script), "1", str(folders[0]), *tasks])
    runpy.run_path(str(script))
    code, printed = finished(SCRIPT, script, 2, folders[1], *tasks)
    assert code == 0, printed
    alone, shared = (torch.load(folder / "result.pt") for folder in folders)
    np.testing.assert_allclose(alone["losses"], shared["losses"], rtol=1e-4)
    for name, weights in alone["weights"].items():
        torch.testing.assert_close(shared["weights"][name], weights, rtol=1e-3, atol=1e-5)
    assert alone["problem"] == shared["problem"]  # the patients of both shares are named
    assert "p07" in alone["problem"]
    one, two = (RunFolder(folder / "pretraining") for folder in folders)
    losses = [pd.read_parquet(run.history).filter(like="loss") for run in (one, two)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    for name, weights in load_file(one.backbone).items():
        torch.testing.assert_close(load_file(two.backbone)[name], weights, rtol=1e-2, atol=1e-3)


# The whole command, but for the page that it ends with and the randomness of augmentation, which is each process's own.
COMMAND = """
import atexit
import fusion_ln.report.experiment, fusion_ln.training.tasks
fusion_ln.report.experiment.write_results = lambda *args, **more: "a page"
fusion_ln.training.tasks.augment = lambda pictures, modality, strength=1.0: pictures
from fusion_ln.cli.main import cli
try:
    cli()
finally:
    atexit._run_exitfuncs()  # as an interpreter of its own would; here a function of the launcher's ends
"""
TORCHRUN = "import sys; from torch.distributed.run import main; main(sys.argv[1:])"


def torchrun(folder, *arguments):
    """Two machines with a process each, as far as torchrun can tell; returns their exit codes and output."""
    (folder / "command.py").write_text(COMMAND)
    options = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    options += ["--rdzv-endpoint", f"localhost:{free_port()}", "--start-method", "fork", "--redirects", 3]
    logs = [folder / name for name in ("first", "second")]
    with ExitStack() as stack:
        machines = [
            stack.enter_context(
                started(TORCHRUN, *options, "--log-dir", log, "--run-path", folder / "command.py", *arguments)
            )
            for log in logs
        ]
        printed = [output.read() for _, output in machines]
        for process, _ in machines:
            process.join()
    printed = [
        text + "".join(path.read_text() for path in log.rglob("std*.log"))
        for text, log in zip(printed, logs, strict=True)
    ]
    return [process.exitcode for process, _ in machines], printed


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_a_command_on_two_machines_predicts_as_one_process_does(make_cohort, tmp_path, monkeypatch):
    cohort = make_cohort(20, views=2)
    options = ["--backbone", "test_vit", "--image-size", "32", "--epochs", "2", "--batch-size", "4", "--lr", "0.001"]
    options += ["--precision", "32-true", "--device", "cpu"]
    command = ["run", "baseline", "--modality", "2d", "--cohort", cohort.root, *options]
    with monkeypatch.context() as patch:
        patch.setattr("fusion_ln.training.tasks.augment", lambda pictures, modality, strength=1.0: pictures)
        patch.setattr("fusion_ln.report.experiment.write_results", lambda *args, **more: "a page")
        fusionln(*command, "--out", tmp_path / "one", "--workers", 1)
    codes, outputs = torchrun(tmp_path, *command, "--out", tmp_path / "two", "--nodes", 2)
    assert codes == [0, 0], outputs
    assert sorted(output.count("Report: a page") for output in outputs) == [0, 1]  # one of them reports, once

    one, two = (RunFolder(tmp_path / name / "baseline-2d") for name in ("one", "two"))
    expected, found = read_predictions(one.predictions), read_predictions(two.predictions)
    assert found.patients == expected.patients == sorted(cohort.patients["patient_id"])
    np.testing.assert_allclose(found.probs, expected.probs, atol=2e-3)
    metrics = [json.loads(run.metrics.read_text())["pooled"] for run in (one, two)]
    assert metrics[1]["auc_ovr"] == pytest.approx(metrics[0]["auc_ovr"], abs=0.02)


def test_ctrl_c_while_ranks_start_comes_when_they_met_and_dismisses_them(monkeypatch):
    class Rank0:
        is_global_zero = True

    def launch(*_):
        os.kill(os.getpid(), signal.SIGINT)  # the other ranks hear nothing of it either: see `test_processes`
        return Rank0

    at_exit = []
    monkeypatch.setattr("fusion_ln.compute.fabric.make_fabric", launch)
    monkeypatch.setattr(ddp, "_rank0", [])
    monkeypatch.setattr(ddp.atexit, "register", at_exit.append)
    hears = handled(signal.SIGINT, signal.default_int_handler)  # the background of a shell hears none
    with hears, pytest.raises(KeyboardInterrupt):
        ddp.init_ranks(DeviceSettings(device="cpu", devices=2))
    assert ddp._rank0 == [Rank0]
    assert at_exit == [ddp._shutdown]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "2"], "this process was not started by torchrun"),
        (["--devices", "2", "--batch-size", "5"], "`--batch-size 4`"),
        (["--devices", "4", "--batch-size", "4"], "`--batch-size 8`"),
        (["--device", "cuda", "--devices", "2"], "fewer devices"),
    ],
)
def test_processes_that_cannot_share_a_fit_are_refused_before_they_start(make_cohort, tmp_path, arguments, message):
    assert message in refused_before_start(make_cohort, tmp_path, arguments)


def test_another_number_of_processes_than_torchruns_is_refused(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun started 2 processes" in refused_before_start(make_cohort, tmp_path, [])


def refused_before_start(make_cohort, folder, arguments):
    cohort, out = make_cohort(20).root, folder / "out"
    message = refused(
        "run", "baseline", "--modality", "2d", "--cohort", cohort, "--out", out, *options_with(*arguments)
    )
    assert not out.exists()
    return message
