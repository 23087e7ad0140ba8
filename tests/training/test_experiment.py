from pathlib import Path

import pytest
from tiny import CPU

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import SettingsError
from fusion_ln.models.backbones import create_backbone
from fusion_ln.models.checkpoint import save_tensors
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import cache_folder
from fusion_ln.training.experiment import run_experiment
from fusion_ln.training.experiment_file import ExperimentSettings, experiment_fits, read_experiment
from fusion_ln.tuning.experiment import Tuning, budget_of, tune
from fusion_ln.tuning.found import found_settings
from fusion_ln.tuning.worker import Conditions

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))
TINY_HEAD = {"epochs": 1, "batch_size": 8, "width": 8, "copies": 1, "grid": 1}
TINY = {"image_size": 32, "epochs": 1, "batch_size": 4, "head_width": 4, "precision": "32-true", "weights": "scratch"}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_loads_and_runs(path, make_cohort, tmp_path, monkeypatch):
    """On a tiny cohort, on one fold unless it is tuned, with a tiny network in the place of each backbone."""
    tasks = [make_cohort(12, name=name, modalities=("2d",), seed=seed) for seed, name in enumerate(("liver", "heart"))]
    monkeypatch.setattr("fusion_ln.training.pretraining.start.open_organs", lambda image_size: tasks)
    cohort = make_cohort(24, modalities=("2d", "cdfi"))
    experiment = read_experiment(path)
    if not experiment.space:  # which is searched fold by fold
        monkeypatch.setattr("fusion_ln.cohort.folder.check_tables", lambda cohort: None)  # expects a column per fold
        monkeypatch.setattr(Cohort, "n_folds", 1)
    variants = {name: {**changes, **TINY_HEAD} for name, changes in experiment.variants.items()}
    for changes in variants.values():
        if "finetune" in changes:
            changes["finetune"] = {**changes["finetune"], "epochs": 1, "batch_size": 8}
    changes = {"head": TINY_HEAD, "variants": variants, "seeds": experiment.seeds[:1]}
    experiment = experiment.model_copy(update=changes)
    if "imagenet" in experiment.weights:
        weights = cache_folder() / "weights" / "test_resnet.safetensors"
        save_tensors(weights, create_backbone("test_resnet", image_size=32).body.state_dict())
    fits = experiment_fits(experiment, str(path))
    tiny = {name: FitSettings(**{**fit.model_dump(), **TINY, "backbone": "test_resnet"}) for name, fit in fits.items()}
    if experiment.space:
        experiment = tuned(experiment, cohort, tiny, tmp_path / "out")
    runs = run_experiment(experiment, cohort, tiny, tmp_path / "out", CPU)
    assert all(run.finished for run in runs)
    n_heads = len(experiment.heads) + len(experiment.variants)
    n_starts = len(fits) * max(1, len(experiment.weights)) * (2 if experiment.tuned else 1)
    n_expected = n_starts * len(experiment.seeds) * (len(experiment.modalities or cohort.modalities) + n_heads)
    assert len({run.root for run in runs}) == n_expected


def tuned(experiment, cohort, fits, out):
    """The space of the file with the values of the tiny head, one trial per study, one seed."""
    sizes = {"width": [8, 16], "attention_heads": [4], "head_width": [4, 8]}
    space = {k: {n: sizes.get(n, d) for n, d in table.items()} for k, table in experiment.space.items()}
    study = experiment.study.model_copy(update={"trials": 1})
    experiment = experiment.model_copy(update={"space": space, "study": study, "seeds": [0]})
    storage = str(out / "study.journal")
    tune(Tuning(experiment, cohort, *fits.values(), out), Conditions(storage, budget_of(experiment), CPU))
    return experiment.model_copy(update={"tuned": found_settings(experiment, storage), "space": {}})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_states_question_command_time_and_expectation(path):
    header = path.read_text(encoding="utf-8")
    assert f"fusionln run experiment experiments/{path.name}" in header
    assert all(word in header for word in ("# Question:", "# Time:", "# Expect:"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "cannot be read as TOML"),
        ('name = "x"', "question"),
        ('name = "x"\nquestion = "?"\nsedes = [1]', "sedes"),
        ('name = "x"\nquestion = "?"\nheads = ["late-meen"]', "(?s)late-meen: unknown head.*Did you mean 'late-mean'"),
        ('name = "x"\nquestion = "?"\nseeds = [0, 1, 0]', "0 is named twice"),
        ('name = "x"\nquestion = "?"\npreset = "quick"', "quick: unknown preset"),
        ('name = "x"\nquestion = "?"\n[fit]\nepochs = 0', "epochs"),
    ],
)
def test_a_mistake_in_an_experiment_is_named(tmp_path, text, message):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        experiment_fits(read_experiment(path), str(path))
    assert "x.toml" in str(caught.value)


def test_a_tuned_head_leaves_baselines_alone_in_a_folder_called_tuned(make_cohort, tmp_path):
    experiment = ExperimentSettings(
        name="tiny",
        question="Does tuning help?",
        heads=["late-mean", "concat"],
        head=TINY_HEAD,
        modalities=["2d", "elastic"],
        tuned={"fusion-concat": {"lr": 0.01}},
    )
    out = tmp_path / "tuned"
    fits = {"test_resnet": FitSettings(backbone="test_resnet", **TINY)}
    runs = run_experiment(experiment, make_cohort(24), fits, out, CPU)
    assert [run.root.relative_to(out).as_posix() for run in runs] == [
        "tuned/fusion-concat", "baseline-2d", "baseline-elastic", "fusion-late-mean", "fusion-concat",
    ]  # fmt: skip
