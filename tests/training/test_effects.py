"""No setting without effect: every one changes the result of its task, or is refused."""

from functools import cache

import pandas as pd
import pytest
from tiny import CPU, FIT, HEAD

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import FusionLNError
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import FinetuneSettings, HeadSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.training.fusion.head_job import train_heads
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.training.run import cross_fit, run_baselines
from fusion_ln.training.state import FitState

LOOP = {
    "epochs": 1,
    "batch_size": 2,
    "lr": 1e-4,
    "weight_decay": 5.0,
    "schedule": "constant",
    "patience": 1,
    "folds": ({"lr": 1e-4}, {"lr": 1e-4}),
}
CHANGES = {
    "fit": LOOP
    | {"backbone": "test_vit", "weights": "absent.pth", "image_size": 40, "precision": "bf16-mixed"}
    | {
        "head_width": 4,
        "head_dropout": 0.5,
        "augmentation": 3.0,
        "label_smoothing": 0.2,
        "frozen_epochs": 1,
        "layer_decay": 0.5,
    },
    "head": LOOP
    | {"head": "gated", "tokens": "cross-fitted", "copies": 1, "grid": 1, "clinical": ("site",), "anchored": False}
    | {"width": 8, "depth": 2, "attention_heads": 2, "dropout": 0.6, "drop_path": 0.5, "modality_dropout": 0.6}
    | {"auxiliary": 1.0, "ensemble_size": 2, "finetune": {"epochs": 1}},
    "finetune": LOOP | {"backbone_lr_scale": 1.0, "accumulate": 2, "precision": "bf16-mixed"},
}
UNSTABLE = {"epochs": 3, "lr": 0.1}  # so that the validation loss rises, and patience matters
MODELS = {"fit": FitSettings, "head": HeadSettings, "finetune": FinetuneSettings}


@pytest.mark.parametrize("table", MODELS)
def test_the_tests_below_change_every_setting(table):
    assert CHANGES[table].keys() == MODELS[table].model_fields.keys()


@pytest.fixture(autouse=True)
def one_fold(monkeypatch):
    """One of the outer folds is trained: it is enough to see an effect."""
    monkeypatch.setattr("fusion_ln.cohort.folder.check_tables", lambda cohort: None)  # it expects a column per fold
    monkeypatch.setattr(Cohort, "n_folds", 1)


class ChangedError(Exception):
    """An epoch ended with other losses than that of the unchanged settings."""


@pytest.fixture
def effects(monkeypatch):
    """Find settings whose change leaves the result as it was, and those that are refused.

    The first epoch with other losses shows an effect: nothing is trained after it.
    """
    keep, of_base, recorded = FitState.keep, {}, {}  # losses by epoch, of each fit of a run by its name

    def compare_and_keep(self, history):
        name = self.fit_id["name"]
        recorded[name] = [(round(epoch.train_loss, 6), round(epoch.val_loss, 6)) for epoch in history]
        if name in of_base and recorded[name] != of_base[name][: len(history)]:
            raise ChangedError
        keep(self, history)

    def find(result, base, changes):
        expected, idle, refused = result("base", base), [], []
        of_base.update(recorded)
        for name, value in changes.items():
            try:
                settings = type(base).read({**base.model_dump(), name: value}, "changed")
                if result(name, settings) == expected:
                    idle.append(name)
            except ChangedError:
                continue
            except FusionLNError:
                refused.append(name)
        of_base.clear()
        return idle, refused

    monkeypatch.setattr(FitState, "keep", compare_and_keep)
    return find


def learnt(run):
    """Losses by epoch and predictions; not the learning rate, which is written as it was set."""
    losses = pd.read_parquet(run.history)[["train_loss", "val_loss"]].to_numpy().round(6).tolist()
    return losses, pd.read_parquet(run.predictions).filter(like="prob_").to_numpy().round(6).tolist()


@pytest.mark.slow
def test_every_setting_of_a_baseline_has_an_effect(effects, make_cohort, tmp_path):
    cohort = make_cohort(12)

    def result(name, settings, *, protocol="nested", seed=0):
        out = tmp_path / name
        return learnt(run_baselines(cohort, ["2d"], settings, out, protocol=protocol, seed=seed, device=CPU)[0])

    base = FIT.model_copy(update=UNSTABLE)
    assert effects(result, base, CHANGES["fit"]) == ([], ["weights"])
    assert BaselineSettings.model_fields.keys() == {"modality", "fit", "protocol", "seed"}
    expected = result("base", base)
    assert result("paper", base, protocol="paper") != expected != result("seed", base, seed=1)


@pytest.fixture
def train(make_cohort, tmp_path):
    """Train a head on two baselines, which are trained once; ``fit`` changes their settings."""
    cohort = make_cohort(24)

    @cache
    def baselines(*fit):
        return run_baselines(cohort, cohort.modalities[:2], FIT.model_copy(update=dict(fit)), tmp_path, device=CPU)

    def run(name, settings, **fit):
        members = baselines(*fit.items())
        cross_fit(cohort, members, [settings], CPU)
        folder = RunFolder(tmp_path / name)
        train_heads(cohort, members, {folder: settings}, seed=0, device=CPU)
        return learnt(folder)

    return run


@pytest.mark.slow
def test_every_setting_of_a_head_has_an_effect(effects, train):
    base = HEAD.model_copy(update={**UNSTABLE, "epochs": 4, "copies": 2, "grid": 4, "anchored": True})

    def result(name, settings):
        return train(name, settings, image_size=64)  # feature maps of more than one token

    assert effects(result, base, CHANGES["head"]) == ([], ["clinical"])


@pytest.mark.slow
def test_every_setting_of_fine_tuning_has_an_effect(effects, train):
    base = FinetuneSettings(**{**UNSTABLE, "epochs": 4}, batch_size=4, precision="32-true")

    def result(name, finetuning, **fit):
        return train(name, HEAD.with_changes({"epochs": 1, "finetune": finetuning.model_dump()}), **fit)

    assert effects(result, base, CHANGES["finetune"]) == ([], ["folds"])


@pytest.mark.slow
def test_fine_tuning_augments_as_strongly_as_its_baselines_did(train, monkeypatch):
    """The strengths reach the augmentation of fine-tuning itself, not only through the baselines' weights."""
    strengths = []

    def recorded(pictures, modality, strength=1.0):
        strengths.append(strength)
        return pictures

    monkeypatch.setattr("fusion_ln.images.patient_batch.augment", recorded)
    finetuning = FinetuneSettings(epochs=1, batch_size=8)
    train("head", HEAD.model_copy(update={"epochs": 1, "finetune": finetuning}), augmentation=2.0)
    assert set(strengths) == {2.0}


@pytest.mark.slow
def test_every_setting_of_a_pre_training_has_an_effect(effects, make_cohort, tmp_path):
    tasks = [make_cohort(patients, name=name, modalities=("2d",)) for name, patients in (("a", 12), ("b", 15))]

    def result(name, settings):
        run = RunFolder(tmp_path / name)
        pretrain(tasks, settings, run, CPU)
        losses = pd.read_parquet(run.history)[["train_loss", "val_loss"]].to_numpy().round(6).tolist()
        return losses, run.backbone.read_bytes()[-4096:]

    def of_fit(name, settings):
        return result(name, PretrainSettings.read({"fit": settings}, "changed"))

    base = FIT.model_copy(update={"epochs": 4, "lr": 0.03})  # the validation loss rises once
    assert effects(of_fit, base, CHANGES["fit"]) == ([], ["folds", "weights"])
    whole = PretrainSettings(fit=base)
    assert effects(result, whole, {"order": "interleaved", "shards": 2, "seed": 1}) == ([], [])
    assert PretrainSettings.model_fields.keys() == {"fit", "order", "shards", "seed"}
