"""Settings: one message for what does not fit, with the nearest name."""

from typing import get_args

import pytest

from fusion_ln.cohort.default import PhantomSettings
from fusion_ln.errors import SettingsError
from fusion_ln.settings.base import ADDED
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import FinetuneSettings, HeadSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.training.experiment_file import StudySettings, experiment_heads, head_settings, read_experiment


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (FitSettings, {"weight_decy": 0.1}, "weight_decy: unknown setting.\n    Did you mean 'weight_decay'? Known: "),
        (HeadSettings, {"finetune": {"epoch": 2}}, "finetune: epoch: unknown setting.\n    Did you mean 'epochs'?"),
        (HeadSettings, {"clinical": ["age", "label"]}, "clinical: 'label' is no clinical column but class, id, site"),
        (FitSettings, {"epochs": 0, "lr": -1}, "epochs: Input should be greater than or equal to 1. lr: Input should"),
    ],
)
def test_what_does_not_fit_is_named_with_the_nearest_key(model, values, message):
    with pytest.raises(SettingsError) as caught:
        model.read(values, "options")
    assert message in str(caught.value)
    assert str(caught.value).startswith("options: ")


WITH_OPTIONS = [DeviceSettings, BaselineSettings, FitSettings, HeadSettings, FinetuneSettings, PretrainSettings]


def test_old_names_are_read_and_said_once(capsys):
    old = {"heads": 8, "seeds": 3, "variants": 2, "finetune": {"backbone_rate": 0.5}}
    for _ in range(2):
        read = HeadSettings.read(old, "run.json")
    assert (read.copies, read.attention_heads, read.ensemble_size) == (2, 8, 3)
    assert read.finetune == FinetuneSettings(backbone_lr_scale=0.5)
    line = "Settings heads, seeds, variants are now called attention_heads, ensemble_size, copies;"
    assert capsys.readouterr().err.count(line) == 1


def test_old_names_in_an_experiment_file_mean_the_heads_settings(tmp_path):
    file = tmp_path / "old.toml"
    file.write_text(
        'name = "old"\nquestion = "?"\nheads = ["concat", "cross-attention"]\nseeds = [4, 5]\n'
        "[head]\nvariants = 1\nseeds = 2\n"
        '[variants.big]\nhead = "gated"\nensemble_size = 5\n[tuned.fusion-cross-attention]\nheads = 2\n'
    )
    experiment = read_experiment(file)
    heads = experiment_heads(experiment, "x")
    assert experiment.seeds == [4, 5]
    assert [(heads[name].copies, heads[name].ensemble_size) for name in ("concat", "big")] == [(1, 2), (1, 5)]
    tuned = heads["cross-attention"].with_changes(experiment.tuned["fusion-cross-attention"], "x")
    assert tuned.attention_heads == 2


@pytest.mark.parametrize("place", ["head", "variants.late"])
@pytest.mark.parametrize("column", ["label", "patient_id", "site", "fold", "node_id"])
def test_an_experiment_file_cannot_feed_the_class_to_a_head(tmp_path, place, column):
    path = tmp_path / "leak.toml"
    head = 'head = "concat"\n' if place != "head" else ""
    path.write_text(f'name = "leak"\nquestion = "?"\nheads = ["concat"]\n[{place}]\n{head}clinical = ["{column}"]\n')
    with pytest.raises(SettingsError, match=f"'{column}' is no clinical column"):
        read_experiment(path)


def test_old_and_new_name_together_are_refused():
    with pytest.raises(SettingsError, match="heads: the old name of attention_heads"):
        HeadSettings.read({"heads": 2, "attention_heads": 2}, "x")


@pytest.mark.parametrize("model", [FitSettings, HeadSettings])
def test_settings_added_later_are_written_only_where_they_are_used(model):
    added = {key for key, field in model.model_fields.items() if field.json_schema_extra == ADDED}
    assert added
    assert not added & model().model_dump().keys()
    assert FitSettings(augmentation=0.5).model_dump()["augmentation"] == 0.5


@pytest.mark.parametrize("model", [*WITH_OPTIONS, StudySettings, PhantomSettings])
def test_every_number_has_bounds_and_is_one(model):
    for name, field in model.model_fields.items():
        if {int, float} & {field.annotation, *get_args(field.annotation)}:
            for value in (float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 10**40, -(10**40)):
                with pytest.raises(SettingsError, match=rf"\b{name}: "):
                    model.read({name: value}, "options")


@pytest.mark.parametrize("model", WITH_OPTIONS)
def test_every_setting_of_a_plain_type_is_described(model):
    """The command line shows the description as help."""
    plain = {key: f for key, f in model.model_fields.items() if f.annotation in (int, float, str, bool)}
    assert all(field.description for field in plain.values())


@pytest.mark.parametrize("head", ["concat", "gated", "lowrank"])
@pytest.mark.parametrize(("name", "value"), [("depth", 2), ("attention_heads", 2), ("drop_path", 0.1)])
def test_a_head_refuses_settings_of_layers_it_lacks_and_names_their_heads(head, name, value):
    with pytest.raises(SettingsError, match=f"{name} has no effect on {head}, only on cross-attention, transformer"):
        HeadSettings.read({"head": head, name: value}, "x")
    assert HeadSettings.read({"head": "transformer", name: value}, "x")
    assert HeadSettings.read({"head": head, "width": 30}, "x")  # four attention heads could not share it


def test_a_change_for_all_heads_is_made_to_those_that_have_such_layers():
    heads = head_settings(["late-mean", "concat", "transformer"], {"heads": 2, "dropout": 0.5}, "x")
    assert [(settings.attention_heads, settings.dropout) for settings in (heads["concat"], heads["transformer"])] == [
        (4, 0.5),
        (2, 0.5),
    ]
    with pytest.raises(SettingsError, match="attention_heads has no effect on concat"):
        head_settings(["late-mean", "concat"], {"heads": 2}, "x")
