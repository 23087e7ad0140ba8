import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
from tiny import FIT_TABLE, ONE_CPU, OPTIONS, encode_noise, fusionln, options_with, refused

pytestmark = pytest.mark.usefixtures("short_pages")


def test_help_loads_neither_torch_nor_pandas():
    code = "import sys; from fusion_ln.cli.main import cli; print({'torch', 'pandas', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    assert "run" in fusionln("--help")


def test_help_of_a_command_reads_no_entry_points():
    code = (
        "import sys; read = []\n"
        "sys.addaudithook(lambda event, of: read.append(str(of[0])) if event == 'open' else None)\n"
        "from fusion_ln.cli.main import cli; cli(['run', 'baseline', '--help'], standalone_mode=False)\n"
        "sys.exit(any(name.endswith('entry_points.txt') for name in read) or not read)"
    )
    clean = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True)
    assert (done.returncode, "--modality" in done.stdout) == (0, True)


def test_help_names_every_command_as_the_command_does():
    """The group's table spares the help the import of the commands."""
    from fusion_ln.cli.main import COMMANDS, cli

    for name, line in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert (command.help or "").replace("\n", " ").startswith(line), name


@pytest.mark.slow
def test_set_reaches_the_settings_of_baselines_and_of_trained_heads(make_cohort, tmp_path):
    changes = ["fit.weight_decay=0.01", "fit.backbone=test_vit", "head.finetune.epochs=1", "head.finetune.accumulate=2"]
    changes += [f"head.{change}" for change in ("width=16", "epochs=1", "anchored=false", "copies=1", "grid=1")]
    options = [*OPTIONS[2:], *(part for change in changes for part in ("--set", change))]
    cohort = make_cohort(18, modalities=("2d", "cdfi"))
    fusionln("run", "fusion", "--head", "concat", "--cohort", cohort.root, "--out", tmp_path, *options)
    settings = json.loads((tmp_path / "fusion-concat" / "run.json").read_text())["settings"]
    assert {m["fit"]["weight_decay"] for m in settings["members"].values()} == {0.01}
    assert {m["fit"]["backbone"] for m in settings["members"].values()} == {"test_vit"}
    assert (settings["training"]["width"], settings["training"]["anchored"]) == (16, False)
    assert settings["training"]["finetune"]["accumulate"] == 2


@pytest.mark.slow
def test_fusion_trains_what_is_missing_reuses_what_is_there_and_reports(make_cohort, tmp_path):
    cohort, out = make_cohort(18, modalities=("2d", "cdfi")), tmp_path / "out"
    fusionln("run", "baseline", "--modality", "cdfi", "--cohort", cohort.root, "--out", out, *OPTIONS)
    trained = (out / "baseline-cdfi" / "fold_0" / "best.safetensors").stat().st_mtime_ns
    assert (out / "baseline-cdfi" / "report.html").is_file()
    output = fusionln("run", "fusion", "--cohort", cohort.root, "--out", out, *OPTIONS)
    assert (out / "baseline-cdfi" / "fold_0" / "best.safetensors").stat().st_mtime_ns == trained
    names = {path.parent.name for path in out.glob("*/predictions.parquet")}
    fusions = {f"fusion-{head}" for head in ("late-mean", "late-logit", "late-weighted", "late-stacked")}
    assert names == {"baseline-2d", "baseline-cdfi"} | fusions
    assert str(out / "report.html") in output.splitlines()[-1]
    for name in names:
        assert json.loads((out / name / "metrics.json").read_text())["pooled"]["auc_ovr"] > 0


@pytest.mark.slow
def test_without_a_cohort_networks_are_pretrained_on_simulated_organs_first(make_cohort, tmp_path, monkeypatch):
    from fusion_ln.cohort.phantom.settings import PhantomSettings

    monkeypatch.setattr(PhantomSettings.model_fields["patients"], "default", 30)
    PhantomSettings.model_rebuild(force=True)
    monkeypatch.setattr("fusion_ln.cohort.default.ORGAN_PATIENTS", 30)
    monkeypatch.chdir(tmp_path)
    output = fusionln("run", "baseline", "--modality", "2d", *OPTIONS)
    assert "simulating 30 patients" in output
    assert "simulating 5 organ tasks of 30 patients" in output
    out = Path("runs", "phantom-30")
    assert output.splitlines()[-1].split() == ["Pre-training:", str(out / "pretraining" / "report.html")]
    assert "simulated" in (out / "baseline-2d" / "report.html").read_text().lower()
    fit = json.loads((out / "baseline-2d" / "run.json").read_text())["settings"]["fit"]
    assert (fit["weights"], fit["augmentation"]) == (str(out / "pretraining"), 2.0)
    first = json.loads((out / "pretraining" / "run.json").read_text())["settings"]
    assert (first["fit"]["weights"], first["fit"]["epochs"], first["order"]) == ("scratch", 1, "interleaved")
    again = fusionln("run", "baseline", "--modality", "2d", *OPTIONS)
    assert again.count("already there, with these settings; kept.") == 2


@pytest.mark.slow
def test_the_best_head_leads_and_one_pre_training_serves_all_draws(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_ln.cohort.default.ORGAN_PATIENTS", 30)
    cohort = make_cohort(18, modalities=("2d", "cdfi"))
    options = ["--cohort", cohort.root, "--out", tmp_path / "out", *OPTIONS, "--set", "head.epochs=1"]
    fusionln("run", "fusion", "--head", "best", "--weights", "pretrained", "--repeats", 2, *options)
    runs = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    assert {"fusion-concat", "fusion-cross-attention"} < set(runs)
    assert runs[0] in ("fusion-concat", "fusion-cross-attention")
    assert len(list(tmp_path.rglob("backbone.safetensors"))) == 1


@pytest.mark.slow
def test_an_experiment_of_several_seeds_says_what_holds_over_them(make_cohort, tmp_path):
    cohort = make_cohort(18, modalities=("2d", "cdfi"))
    file = tmp_path / "two.toml"
    file.write_text(
        f'name = "two"\nquestion = "Twice?"\ncohort = "{cohort.root}"\nheads = ["late-mean", "late-logit"]\n'
        f"seeds = [0, 1]\n{FIT_TABLE}"
    )
    output = fusionln("run", "experiment", file, "--out", tmp_path / "out", *ONE_CPU)
    assert f"Seeds:  {tmp_path / 'out' / 'seeds.html'}" in output
    assert len(pd.read_csv(tmp_path / "out" / "tables" / "subsets_over_seeds.csv")) == 2
    assert '<a href="seeds.html">' in (tmp_path / "out" / "report.html").read_text()
    assert "Twice?" in (tmp_path / "out" / "seeds.html").read_text()


@pytest.mark.slow
def test_predict_writes_the_probabilities_of_one_patient_or_of_a_cohort(make_cohort, tmp_path):
    cohort, new = make_cohort(18), make_cohort(9, name="new", absent={2: {"2d"}}, seed=8)
    fusionln("run", "fusion", "--head", "late-mean", "--cohort", cohort.root, "--out", tmp_path / "out", *OPTIONS)
    run = tmp_path / "out" / "fusion-late-mean"
    picture = new.picture_path(new.images_of("elastic")["path"].iloc[0])
    assert "elastic" in fusionln("predict", run, "--elastic", picture)
    assert "takes pictures only" in fusionln("predict", run, "--elastic", picture, "--clinical", "age=54", code=1)
    assert "'age' is not of the form" in fusionln("predict", run, "--elastic", picture, "--clinical", "age", code=2)
    fusionln("predict", run, "--cohort", new.root, "--csv", tmp_path / "new.csv")
    table = pd.read_csv(tmp_path / "new.csv").set_index("patient_id")
    assert len(table) == 9
    assert table.loc["P002", "modalities"] == "cdfi+elastic"
    assert table.filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(1)


def test_predicting_patients_of_training_is_refused_with_the_honest_file(make_cohort, tmp_path):
    cohort = make_cohort(20)
    fusionln("run", "baseline", "--modality", "2d", "--cohort", cohort.root, "--out", tmp_path / "out", *OPTIONS)
    run = tmp_path / "out" / "baseline-2d"
    assert "predictions.parquet" in fusionln("predict", run, "--cohort", cohort.root, code=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "baseline", "--modality", "ceus"], "no picture of modality 'ceus'"),
        (["run", "baseline", "--modality", "2d", "--backbone", "resent152"], "Did you mean 'resnet152'"),
        (["run", "baseline", "--modality", "2d", "--epochs", "0"], "epochs"),
        (["run", "baseline", "--modality", "2d", "--weights", "absent.pth"], "no such weight file"),
        (["run", "baseline", "--modality", "2d", "--device", "cuda"], "--device cpu"),
        (["run", "fusion", "--head", "late-meen"], "late-mean"),
        (
            ["run", "fusion", "--head", "late-mean", "--clinical", "age"],
            "clinical: set for trained heads, but all heads are late ones",
        ),
        (["run", "fusion", "--head", "late-mean", "--tokens", "fitted"], "tokens: set for trained heads"),
        (
            ["run", "fusion", "--head", "late-mean", "--modality-dropout", "0.1"],
            "modality_dropout: set for trained heads",
        ),
        (["run", "fusion", "--head", "late-mean", "--finetune"], "finetune: set for trained heads"),
        (["run", "fusion", "--set", "head.width=8"], "width: set for trained heads"),
        (["run", "fusion", "--head", "concat", "--accumulate", "2"], "give --finetune, too"),
        (["run", "fusion", "--head", "concat", "--set", "head.widht=8"], "Did you mean 'head.width'?"),
        (["run", "fusion", "--head", "concat", "--set", "head.width=a"], "width: Input should be a valid integer"),
        (["run", "baseline", "--modality", "2d", "--set", "fit.epochs=2"], "given as an option, too (--epochs)"),
        (["run", "fusion", "--head", "concat", "--clinical", "site"], "--clinical site: the class, an id, the site"),
        (["run", "baseline", "--modality", "2d", "--weights", "picture.png"], "is no weight file, or holds"),
        (["run", "fusion", "--head", "concat", "--clinical", "age"], "no clinical column 'age'"),
        (["run", "experiment", "absent.toml"], "does not exist"),
        (["predict", "absent"], "Give either pictures"),
        (["predict", "absent", "--2d", "x.png"], "no such folder"),
    ],
)
def test_a_mistake_gets_one_message_and_no_traceback(make_cohort, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(20)
    if arguments[:2] in (["run", "baseline"], ["run", "fusion"]):
        arguments = [*arguments[:2], "--cohort", str(cohort.root), *options_with(*arguments[2:])]
    (tmp_path / "picture.png").write_bytes(encode_noise())
    said = refused(*arguments)
    assert message in said
    assert "learnt from" not in said
    assert not list(tmp_path.glob("runs/*/*/fold_*"))  # found before any fit


def test_a_cohort_of_one_modality_is_not_fused(make_cohort, tmp_path):
    cohort = make_cohort(20, modalities=("2d",))
    output = fusionln("run", "fusion", "--cohort", cohort.root, "--out", tmp_path / "out", *OPTIONS, code=1)
    assert "nothing to fuse" in output
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_cohort_is_named_with_the_way_out(tmp_path):
    for folder in (tmp_path / "absent", tmp_path):
        assert "fusionln cohort import" in fusionln("run", "fusion", "--cohort", folder, code=1)


def test_ctrl_c_ends_cleanly_and_the_run_goes_on(make_cohort, tmp_path, monkeypatch):
    from fusion_ln.training import crossval

    cohort, out = make_cohort(20), tmp_path / "out"
    arguments = ["run", "baseline", "--modality", "2d", "--cohort", cohort.root, "--out", out, *OPTIONS]
    real, fits = crossval.fit, []

    def interrupted(*args, **kwargs):
        fits.append(1)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(crossval, "fit", interrupted)
    assert "give the same command again" in fusionln(*arguments, code=130)
    fusionln(*arguments)
    assert len(fits) == 3  # the first fold was not trained again


@pytest.mark.parametrize("command", [["fusion"], ["baseline", "--modality", "2d"]])
def test_workers_begin_beside_the_command_where_fits_will_run_side_by_side(command, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("fusion_ln.compute.processes.preload_now", lambda *modules: begun.append(modules))
    monkeypatch.setattr("fusion_ln.threads.cores", lambda: 2)
    for options, n_begun in ((["--workers", "1"], 0), ([], 1), (["--workers", "2"], 2)):
        refused("run", *command, "--cohort", tmp_path / "missing", *options)
        assert len(begun) == n_begun
