"""`fusionln run`: baselines, their fusion, and experiments."""

from pathlib import Path
from typing import Any

import click

from fusion_ln.cli.common import (
    DIRECTORY,
    EXISTING_FILE,
    device_options,
    device_settings,
    report_experiment,
    report_runs,
    together,
)
from fusion_ln.cli.study import tune_and_apply
from fusion_ln.heads import LATE_HEADS, TRAINED_HEADS
from fusion_ln.terms import PAPER_BACKBONES

QUESTION = "Does fusing the pictures tell the classes apart better than the best modality alone?"


@click.group()
def run() -> None:
    """Train single-modality baselines, fuse them, and report."""


# What a baseline and a fusion share.
training_options = together(
    click.option("--cohort", type=DIRECTORY, help="Cohort folder. Without it: a simulated one."),
    click.option("--out", type=DIRECTORY, help="Folder for the runs.  [default: runs/COHORT]"),
    click.option("--preset", type=click.Choice(["fast", "paper"]), default="fast", show_default=True),
    click.option("--backbone", help=f"{', '.join(PAPER_BACKBONES)} or any timm name."),
    click.option("--weights", help="scratch, imagenet, a weight file, or the folder of a pre-training."),
    click.option("--image-size", type=int, help="Pixels a side."),
    click.option("--epochs", type=int),
    click.option("--batch-size", type=int),
    click.option("--lr", type=float, help="Learning rate (Adam)."),
    click.option("--schedule", type=click.Choice(["constant", "one-cycle"])),
    click.option("--patience", type=int, help="Epochs without a lower validation loss before stopping."),
    click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"])),
    click.option(
        "--protocol",
        type=click.Choice(["nested", "paper"]),
        default="nested",
        show_default=True,
        help="nested stops on inner validation; paper on the held-out fold, which flatters.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    device_options,
)


@run.command()
@click.option("--modality", required=True, help="2d, cdfi, elastic, or another of the cohort.")
@training_options
def baseline(modality: str, **options: Any) -> None:
    """Train one network per fold on one modality and report its out-of-fold predictions."""
    from fusion_ln.training.run import run_baselines

    prepared = _prepare(**options)
    if prepared is None:
        return
    cohort, out, arguments = prepared
    [trained] = run_baselines(cohort, [modality], out=out, **arguments)
    question = f"How well does {modality} alone tell the classes apart?"
    report_runs(trained.root, [trained], cohort, f"{cohort.name}: {modality} alone", question)


@run.command()
@click.option(
    "--head",
    "heads",
    default="late-mean",
    show_default=True,
    metavar="NAME[,NAME...]",
    help=f"{', '.join((*LATE_HEADS, *TRAINED_HEADS))}. The report leads with the first.",
)
@click.option(
    "--tokens",
    type=click.Choice(["fitted", "cross-fitted", "pretrained"]),
    help="Whose tokens trained heads see: of the fold's network, of networks that did not see the patient (trained for "
    "it), or of the weights that training began with.",
)
@click.option("--modality-dropout", type=click.FloatRange(0, 1, max_open=True), help="Of trained heads, in training.")
@click.option("--clinical", metavar="COLUMN", multiple=True, help="Clinical column for trained heads; repeatable.")
@click.option("--finetune", is_flag=True, help="Then train the whole model of each fold, networks and head.")
@click.option(
    "--accumulate", type=click.IntRange(min=1), default=1, show_default=True, help="Batches per step of --finetune."
)
@training_options
def fusion(
    heads: str,
    tokens: str | None,
    modality_dropout: float | None,
    clinical: tuple[str, ...],
    finetune: bool,
    accumulate: int,
    **options: Any,
) -> None:
    """Train every modality's baseline, fuse them, and report whether fusing helps.

    Baselines that are already in --out with the same settings are reused. All late fusions are computed,
    since they cost no training; the other heads learn from what the baselines see.
    """
    from fusion_ln.training.experiment_file import head_settings
    from fusion_ln.training.run import run_baselines_and_fusions

    changes = {
        "tokens": tokens,
        "modality_dropout": modality_dropout,
        "clinical": clinical or None,
        "finetune": {"accumulate": accumulate} if finetune else None,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    named = dict.fromkeys([*(name.strip() for name in heads.split(",")), *LATE_HEADS])
    wanted = head_settings(named, changes, "--head")
    prepared = _prepare(**options)
    if prepared is None:
        return
    cohort, out, arguments = prepared
    runs = run_baselines_and_fusions(cohort, list(cohort.modalities), wanted, out=out, **arguments)
    report_runs(out, runs, cohort, f"{cohort.name}: does fusion help?", QUESTION)


@run.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--out", type=DIRECTORY, help="Folder for the runs.  [default: runs/NAME]")
@device_options
def experiment(file: Path, out: Path | None, **options: Any) -> None:
    """Run every run that the experiment FILE (TOML) names, and report on all of them.

    An experiment with a search space is tuned first, as by `study run` and `study apply`.
    """
    from fusion_ln.compute.engines import join_as_worker, validate_compute
    from fusion_ln.report.starts import write_ablation
    from fusion_ln.training.experiment import experiment_cohort, run_experiment
    from fusion_ln.training.experiment_file import experiment_fits, read_experiment

    settings = read_experiment(file)
    fits = experiment_fits(settings, str(file))
    where = device_settings(options)
    validate_compute(where, next(iter(fits.values())))
    if join_as_worker(where):
        return
    out = out or Path("runs") / settings.name
    if settings.space:
        tune_and_apply(file, settings, out, where)
        return
    cohort = experiment_cohort(settings, file)
    runs = run_experiment(settings, cohort, fits, out, where)
    report_experiment(out, runs, cohort, settings, settings.question)
    if len(settings.weights) > 1:
        page = write_ablation(out, runs, cohort, title=settings.name, question=settings.question)
        click.echo(f"Starts: {page}")


def _prepare(
    *,
    cohort: Path | None,
    out: Path | None,
    preset: str,
    protocol: str,
    seed: int,
    **options: Any,
) -> tuple[Any, Path, dict[str, Any]] | None:
    """Resolve the options; everything that can be wrong with them is found before anything is simulated or trained.

    None in a process that helped another with its fits and has nothing left to do.
    """
    from fusion_ln.cohort.default import open_cohort
    from fusion_ln.compute.engines import join_as_worker, validate_compute
    from fusion_ln.models.backbones import check_backbone
    from fusion_ln.settings import resolve_fit

    where = device_settings(options)
    fit = resolve_fit(preset, options, "options")
    check_backbone(fit.backbone)
    validate_compute(where, fit)
    if join_as_worker(where):
        return None
    opened = open_cohort(cohort)
    arguments = {"fit": fit, "protocol": protocol, "seed": seed, "device": where}
    return opened, out or Path("runs") / opened.name, arguments
