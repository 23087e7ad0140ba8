"""The room that a training needs is known before the first fit."""

import shutil
from collections import Counter, namedtuple

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tiny import CPU, FIT, HEAD
from torch import nn

from fusion_ln.errors import RunError
from fusion_ln.images.bank import open_bank
from fusion_ln.images.batches import Batches
from fusion_ln.models.checkpoint import Checkpoint, save_checkpoint
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.rehearsal import rehearse
from fusion_ln.settings.fusion import FinetuneSettings
from fusion_ln.terms import cache_folder
from fusion_ln.training import state as training_state
from fusion_ln.training.crossval import begin
from fusion_ln.training.fit import fit
from fusion_ln.training.fusion.tokens import picture_tokens
from fusion_ln.training.room import STATE, RoomNeeded, as_size, baseline_needs, check_room, fusion_needs
from fusion_ln.training.run import plan_baselines
from fusion_ln.training.tasks import PictureTask

Usage = namedtuple("Usage", "total used free")
WHOLE = HEAD.model_copy(update={"tokens": "cross-fitted", "finetune": FinetuneSettings()})


def needs_of(cohort, planned, out, head=HEAD):
    needs = [*baseline_needs(cohort, planned), *fusion_needs(cohort, planned, {"concat": head, "late-mean": None}, out)]
    sizes = Counter()
    for need in {need.file: need for need in needs}.values():
        sizes[need.what] += need.size if need.stays else 0
    return +sizes


def test_needs_are_the_sizes_of_the_files_that_are_written(make_cohort, tmp_path):
    """Of networks as they were drawn; then nothing is needed any more."""
    cohort = make_cohort(12)
    planned = plan_baselines(tmp_path, ["2d", "cdfi"], FIT, protocol="nested", seed=0)
    needs = needs_of(cohort, planned, tmp_path)
    checkpoints = []
    for run, settings in planned.items():
        begin(cohort, settings, run, CPU)
        for fold in range(cohort.n_folds):
            weights = build_classifier(settings.fit, len(cohort.classes)).state_dict()
            save_checkpoint(run.checkpoint(fold), weights, Checkpoint(settings, cohort.classes, fold))
            checkpoints.append(run.checkpoint(fold).stat().st_size)
            picture_tokens(cohort, run, fold, HEAD, torch.device("cpu"))
    for what, folder in (("pictures", "banks"), ("tokens", "tokens")):
        assert needs[what] == sum(np.load(file).nbytes for file in (cache_folder() / folder).glob("*.npy"))
    assert 0.95 * sum(checkpoints) < needs["checkpoints"] < sum(checkpoints)  # without heads and descriptions
    assert not needs_of(cohort, planned, tmp_path)
    whole = needs_of(cohort, planned, tmp_path, WHOLE)  # two fine-tuned pairs, and three parts of each of four networks
    assert whole["checkpoints"] == 4 * needs["checkpoints"]


def test_the_state_of_a_fit_never_takes_more_than_is_counted(make_cohort, tmp_path, monkeypatch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 32), nn.Linear(32, 3))
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    held, folder = [], tmp_path / "fit"
    folder.mkdir()

    def write(file, save):
        save(folder / "new")
        held.append(sum(path.stat().st_size for path in folder.iterdir()))
        (folder / "new").replace(file)

    monkeypatch.setattr(training_state, "write_atomically", write)
    monkeypatch.setattr(training_state, "STATE_SECONDS", 0)
    bank = open_bank(make_cohort(12), "2d", 32)
    batches = Batches(bank, np.arange(12), 6)
    settings = FIT.model_copy(update={"epochs": 2, "lr": 1e-4})
    fabric = Fabric(accelerator="cpu", devices=1)
    fit(PictureTask("2d", model, 1.0), batches, batches, settings=settings, seed=0, fabric=fabric, folder=folder)
    assert 0.9 * STATE * weights < max(held) < 1.05 * STATE * weights


def test_a_disk_that_is_too_small_is_named_with_what_is_needed_and_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**9, 0, 3_000_000))
    runs = [tmp_path / name / "fold_0" / "best.safetensors" for name in ("a", "b")]
    states = [
        RoomNeeded("state of a fit", run.with_suffix(".ckpt"), size, stays=False)
        for run, size in zip(runs, (9, 500), strict=True)
    ]
    files = [RoomNeeded("checkpoints", run, 1_000_000) for run in runs] + states
    check_room([*files, *files])  # a file takes its room once
    with pytest.raises(RunError) as refusal:
        check_room([*files, RoomNeeded("tokens", cache_folder() / "tokens" / "x", 2_500_000)])
    assert refusal.value.problem == (
        f"{tmp_path} and {cache_folder()}: too little room. 4.5 MB will be written (checkpoints 2.0 MB, "
        "state of a fit 500 bytes, tokens 2.5 MB), but 3.0 MB are free there."
    )
    assert "FUSIONLN_CACHE" in refusal.value.way_out


def test_storage_that_tells_no_room_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 0))
    check_room([RoomNeeded("checkpoints", tmp_path / "a" / "b", 10)])


def test_sizes_are_written_in_the_unit_that_they_fill():
    assert [as_size(n) for n in (0, 999, 1000, 123_456, 10**9, 10**16)] == [
        "0 bytes", "999 bytes", "1.0 kB", "123.5 kB", "1.0 GB", "10000.0 TB",
    ]  # fmt: skip


def test_the_weights_of_a_network_are_counted_from_shapes():
    weights = build_classifier(FIT, 3).backbone.state_dict()
    assert rehearse(FIT.backbone, FIT.image_size).size == sum(tensor.nbytes for tensor in weights.values())
