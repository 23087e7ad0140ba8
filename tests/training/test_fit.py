import os
import shutil
import signal
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from tiny import handled
from torch import nn

from fusion_ln.compute.fabric import make_fabric
from fusion_ln.errors import DivergedError, SettingsError
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.batches import Batches
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.fit import fit, share_batch_norms
from fusion_ln.training.tasks import PatientLogits, PictureTask


class Tiny(nn.Module):
    """A network with everything that has a state: batch statistics and dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(4, 3),
        )

    def forward(self, pictures):
        return self.layers(pictures)


class Unchanged(PictureTask):
    """Without augmentation."""

    def loss(self, model, batch, device):
        return nn.functional.cross_entropy(model(batch.pictures / 255), batch.labels)


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    pixels = rng.integers(0, 100, (24, 3, 16, 16), dtype=np.uint8)
    pixels[np.arange(24), labels] += 100
    bank = ImageBank(pixels, np.array([f"p{i:02d}" for i in range(24)]), labels)
    return Batches(bank, np.arange(18), 6, seed=1), Batches(bank, np.arange(18, 24), 6)


def fit_tiny(batches, folder, *, task=None, name="", on_epoch=lambda e: None, stop=None, **settings):
    torch.manual_seed(0)
    task = task or PictureTask("2d", Tiny())
    settings = FitSettings(**{"epochs": 5, "lr": 0.01, "patience": 5, **settings})
    fabric = make_fabric(DeviceSettings(device="cpu"), "32-true")
    where = {"fabric": fabric, "folder": folder, "name": name}
    return fit(task, *batches, settings=settings, seed=3, on_epoch=on_epoch, stop=stop, **where)


def assert_same(a, b):
    assert [(e.train_loss, e.val_loss) for e in a.history] == [(e.train_loss, e.val_loss) for e in b.history]
    assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_it_learns(batches, tmp_path, schedule):
    result = fit_tiny(batches, tmp_path, schedule=schedule, epochs=30, patience=30)
    assert result.history[-1].train_loss < 0.7 * result.history[0].train_loss


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
@pytest.mark.parametrize("interrupted_after", [0, 2, 4])
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(batches, tmp_path, schedule, interrupted_after):
    def interrupt(epoch):
        if epoch.epoch == interrupted_after:
            raise KeyboardInterrupt

    whole = fit_tiny(batches, tmp_path / "whole", schedule=schedule)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(batches, tmp_path / "cut", schedule=schedule, on_epoch=interrupt)
    resumed_at = []
    assert_same(fit_tiny(batches, tmp_path / "cut", schedule=schedule, on_epoch=resumed_at.append), whole)
    assert [e.epoch for e in resumed_at] == [0, 1, 2, 3, 4]  # a progress bar is told of the finished ones too


def test_a_fit_told_to_end_by_sigterm_writes_its_state_first(batches, tmp_path, monkeypatch):
    def end(epoch):
        if epoch.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = fit_tiny(batches, tmp_path / "whole")
    heard = []
    with handled(signal.SIGTERM, lambda number, frame: heard.append(number)), pytest.raises(KeyboardInterrupt):
        fit_tiny(batches, tmp_path / "cut", on_epoch=end)
    assert heard == [signal.SIGTERM]
    shuffled, shuffle = [], Batches.shuffled
    monkeypatch.setattr(Batches, "shuffled", lambda self, epoch: shuffled.append(epoch) or shuffle(self, epoch))
    assert_same(fit_tiny(batches, tmp_path / "cut"), whole)
    assert shuffled == [3, 4]


def flip(file):
    """Change a bit of the largest tensor."""
    with zipfile.ZipFile(file) as archive:
        tensor = archive.read(max(archive.infolist(), key=lambda each: each.file_size))
    content = bytearray(file.read_bytes())
    content[content.index(tensor) + len(tensor) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "garbage": lambda cut, other: (cut / "last.ckpt").write_bytes(b"garbage"),
    "empty": lambda cut, other: (cut / "best.ckpt").write_bytes(b""),
    "cut": lambda cut, other: (cut / "last.ckpt").write_bytes((cut / "last.ckpt").read_bytes()[:-100]),
    "flipped": lambda cut, other: flip(cut / "last.ckpt"),
    "flipped best": lambda cut, other: flip(cut / "best.ckpt"),
    "no best": lambda cut, other: (cut / "best.ckpt").unlink(),
    "another fit's": lambda cut, other: shutil.copytree(other, cut, dirs_exist_ok=True),
    "another fit's best": lambda cut, other: shutil.copy(other / "best.ckpt", cut),
}


def test_a_state_that_is_damaged_or_of_another_fit_is_not_used(batches, tmp_path, capsys):
    def interrupt(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    whole = fit_tiny(batches, tmp_path / "whole", name="2d, fold 0")
    for name in ("2d, fold 0", "cdfi, fold 0"):
        with pytest.raises(KeyboardInterrupt):
            fit_tiny(batches, tmp_path / name, name=name, on_epoch=interrupt)
    for damage, inflict in DAMAGES.items():
        shutil.copytree(tmp_path / "2d, fold 0", tmp_path / damage)
        inflict(tmp_path / damage, tmp_path / "cdfi, fold 0")
        assert_same(fit_tiny(batches, tmp_path / damage, name="2d, fold 0"), whole)
        assert f"{damage}: the state of its unfinished fit cannot be used" in capsys.readouterr().err, damage


class Scripted(PictureTask):
    """Validation losses as given, whatever the model does."""

    losses = (1.0, 0.8, 0.9, 0.7, 0.75, 0.71, 0.72, 0.6)

    def predict(self, batches, device):
        calls.append(1)
        wanted = self.losses[len(calls) - 1]  # cross-entropy of one patient with logits (0, x): log(1 + exp(x))
        return PatientLogits(["p"], np.array([0]), np.array([[0.0, np.log(np.expm1(wanted))]]))


calls: list[int] = []


@pytest.mark.parametrize(("patience", "epochs_run", "best"), [(1, 3, 1), (2, 6, 3), (3, 7, 3), (4, 8, 7)])
def test_training_stops_after_patience_epochs_without_a_lower_loss(batches, tmp_path, patience, epochs_run, best):
    calls.clear()
    result = fit_tiny(batches, tmp_path, task=Scripted("2d", Tiny()), epochs=8, patience=patience)
    assert (len(result.history), result.best_epoch) == (epochs_run, best)


def test_the_weights_are_those_of_the_best_epoch(batches, tmp_path):
    calls.clear()
    seen = []
    task = Scripted("2d", Tiny())
    result = fit_tiny(
        batches, tmp_path, task=task, epochs=6, on_epoch=lambda e: seen.append(task.model.layers[0].weight.clone())
    )
    assert torch.equal(result.weights["layers.0.weight"], seen[3])
    assert not torch.equal(result.weights["layers.0.weight"], seen[5])


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_without_validation_the_last_of_so_many_epochs_is_kept(batches, tmp_path, schedule):
    """Its schedule is that of the whole training: the weights are those of an epoch of a fit that went on."""
    weights = []
    torch.manual_seed(0)
    task = PictureTask("2d", Tiny())

    def remember(epoch):
        weights.append({name: value.clone() for name, value in task.model.state_dict().items()})

    fit_tiny(batches, tmp_path / "whole", task=task, on_epoch=remember, schedule=schedule, patience=1000)
    refit = fit_tiny((batches[0], None), tmp_path / "refit", stop=3, schedule=schedule, patience=1)
    assert len(refit.history) == 3
    assert refit.best_epoch == 2
    assert np.isnan(refit.history[-1].val_loss)
    assert all(torch.equal(refit.weights[name], value) for name, value in weights[2].items())


def test_a_loss_that_is_not_finite_stops_with_the_patients_named(batches, tmp_path):
    class Poisoned(PictureTask):
        def loss(self, model, batch, device):
            loss = super().loss(model, batch, device)
            return loss * float("nan") if (batch.pictures == poison).flatten(1).all(1).any() else loss

    poison = torch.from_numpy(batches[0].bank.pixels[7])
    with pytest.raises(DivergedError, match="p07") as caught:
        fit_tiny(batches, tmp_path, task=Poisoned("cdfi", Tiny()))
    assert len(caught.value.problem.split("patients ")[1].split(",")) == 6  # its batch, and no other


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError()])
def test_memory_that_runs_out_is_said_with_the_batch_and_the_ways_out(batches, tmp_path, error):
    class Large(PictureTask):
        def loss(self, model, batch, device):
            raise error

    with pytest.raises(SettingsError, match=r"2d, fold 1: the memory does not hold batches of 16 .*\n.*--batch-size"):
        fit_tiny(batches, tmp_path, task=Large("2d", Tiny()), name="2d, fold 1")


def test_a_patients_prediction_is_the_mean_logit_of_the_pictures():
    pixels = np.zeros((4, 3, 2, 2), dtype=np.uint8)
    pixels[:, 0, 0, 0] = [51, 102, 255, 0]
    bank = ImageBank(pixels, np.array(["b", "a", "b", "b"]), np.array([1, 0, 1, 1]))

    class FirstPixel(nn.Module):
        def forward(self, pictures):
            return torch.stack([pictures[:, 0, 0, 0], torch.zeros(len(pictures))], 1)

    task = PictureTask("2d", FirstPixel())
    predictions = task.predict(Batches(bank, np.arange(4), 3), torch.device("cpu"))
    assert predictions.patients == ["a", "b"]
    assert predictions.labels.tolist() == [0, 1]
    np.testing.assert_allclose(predictions.logits[:, 0], [0.4, (0.2 + 1 + 0) / 3], rtol=1e-6)


def test_gradients_of_small_batches_add_up_to_those_of_a_large_one(tmp_path):
    """Two batches of 4 with one step after both, or one batch of 8: the same weights."""
    rng = np.random.default_rng(0)
    bank = ImageBank(rng.integers(0, 255, (16, 3, 4, 4), dtype=np.uint8), np.arange(16).astype(str), np.arange(16) % 3)
    weights = []
    for size, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        task = Unchanged("cdfi", nn.Sequential(nn.Flatten(), nn.Linear(48, 3)))
        batches = Batches(bank, np.arange(16), size, seed=1)
        settings = FitSettings(epochs=2, lr=0.01)
        fabric = make_fabric(DeviceSettings(device="cpu"), "32-true")
        folder = tmp_path / str(size)
        result = fit(
            task, batches, batches, settings=settings, seed=0, fabric=fabric, folder=folder, accumulate=accumulate
        )
        weights.append(result.weights)
    torch.testing.assert_close(weights[0], weights[1])


def test_named_parameters_learn_at_a_share_of_the_rate(tmp_path):
    """Adam's first step is as long as the rate."""
    bank = ImageBank(np.full((4, 3, 4, 4), 200, dtype=np.uint8), np.arange(4).astype(str), np.arange(4) % 2)
    batches = Batches(bank, np.arange(4), 4)
    model = nn.Sequential(OrderedDict(flat=nn.Flatten(), slow=nn.Linear(48, 4), quick=nn.Linear(4, 2)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = FitSettings(epochs=1, lr=0.01, schedule="constant")
    fabric = make_fabric(DeviceSettings(device="cpu"), "32-true")
    result = fit(
        Unchanged("cdfi", model), batches, batches, settings=settings, seed=0, fabric=fabric, folder=tmp_path,
        lr_scale={"slow": 0.1},
    )  # fmt: skip
    step = {name: (result.weights[name] - before[name]).abs().max().item() for name in before}
    assert step["quick.weight"] == pytest.approx(0.01, rel=0.01)
    assert step["slow.weight"] == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize(("world_size", "device", "shared"), [(2, "cuda", True), (2, "cpu", False), (1, "cuda", False)])
def test_batch_norms_see_the_whole_batch_where_several_gpus_share_it(world_size, device, shared):
    network = timm.create_model("test_resnet")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    share_batch_norms(network, SimpleNamespace(world_size=world_size, device=torch.device(device)))
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert {isinstance(layer, nn.SyncBatchNorm) for layer in norms} == {shared}
    torch.testing.assert_close(dict(network.state_dict()), before)
