import re

import optuna
import pytest

from fusion_ln.errors import SettingsError
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.tuning.space import Choices, Range, read_space, suggest

DECLARED = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "width": [32, 64],
    "depth": {"low": 1, "high": 3},
    "dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
}


def test_suggested_values_lie_in_the_space_and_keep_their_type():
    space = read_space(DECLARED, HeadSettings(), "space")
    assert space["lr"] == Range(1e-4, 1e-2, log=True)
    assert space["width"] == Choices((32, 64))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        found = suggest(space, study.ask(), HeadSettings())
        assert all(getattr(found, name) in dimension for name, dimension in space.items())
        assert isinstance(found.depth, int)
        assert round(found.dropout * 10, 6) % 1 == 0
        assert found.batch_size == HeadSettings().batch_size


def test_a_change_that_does_not_fit_is_refused():
    assert FitSettings().with_changes({"lr": 1e-3}).lr == 1e-3
    with pytest.raises(SettingsError, match="lr"):
        FitSettings().with_changes({"lr": -1})


@pytest.mark.parametrize(
    ("table", "base_settings", "message"),
    [
        ({"weight_decy": [0.0]}, FitSettings(), "Did you mean 'weight_decay'"),
        ({"lr": {"low": 1e-4, "high": float("inf")}}, FitSettings(), "finite numbers"),
        ({"epochs": {"low": 1, "high": 10**400}}, FitSettings(), "finite numbers"),
        ({"modality_dropout": [0.2]}, FitSettings(), "modality_dropout: unknown setting of a baseline"),
        ({"head": ["gated", "concat"]}, HeadSettings(), "head is not for tuning"),
        ({"folds": [[]]}, HeadSettings(), "folds is not for tuning"),
        ({}, FitSettings(), "nothing to tune"),
        ({"lr": {"low": 1e-2, "high": 1e-2}}, FitSettings(), "an empty range, 0.01 to 0.01"),
        ({"lr": {"low": 1e-2, "high": 1e-4}}, FitSettings(), "an empty range"),
        ({"width": []}, HeadSettings(), "is empty or names a value twice"),
        ({"width": [64, 64]}, HeadSettings(), "names a value twice"),
        ({"lr": {"low": 1e-4}}, FitSettings(), "is no range and no list"),
        ({"lr": "fast"}, FitSettings(), "is no range and no list"),
        ({"lr": {"low": "a", "high": "b"}}, FitSettings(), "does not run between numbers"),
        ({"weight_decay": {"low": 0.0, "high": 0.1, "log": True}}, FitSettings(), "starts above 0"),
        ({"depth": {"low": 1, "high": 3, "step": 5}}, HeadSettings(), "a step of 5 does not fit"),
        ({"depth": {"low": 1.0, "high": 3.0}}, HeadSettings(), "is not whole"),
        ({"dropout": {"low": 0.0, "high": 1.5}}, HeadSettings(), "dropout: Input should be less than 1"),
        ({"schedule": ["one-cycle", "cosine"]}, FitSettings(), "schedule"),
        ({"backbone": ["resnet10t", "resnet10x"]}, FitSettings(), "resnet10x: unknown backbone"),
        ({"lr": {"low": 1e-5, "high": 1e-4}}, FitSettings(), "the untuned lr, 0.003, lies outside"),
        (
            {"width": [64, 66], "attention_heads": [2, 4]},
            HeadSettings(),
            "width 66 is no multiple of attention_heads 4",
        ),
    ],
)
def test_a_mistake_in_a_space_is_named(table, base_settings, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        read_space(table, base_settings, "x.toml: space")
