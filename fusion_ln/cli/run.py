"""`fusionln run`: baselines, their fusion, and experiments."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from fusion_ln.cli.common import (
    DIRECTORY,
    EXISTING_FILE,
    F,
    Family,
    device_options,
    preset_option,
    print_paths,
    together,
)
from fusion_ln.cli.options import given, merge, set_option, settings_options, take
from fusion_ln.cli.study import tune_and_apply
from fusion_ln.heads import BEST, BEST_OF, LATE_HEADS, TRAINED_HEADS, UNASKED_HEADS
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.draws import DrawSettings
from fusion_ln.settings.fusion import FinetuneSettings, HeadSettings
from fusion_ln.settings.training import PRETRAINED, BaselineSettings, FitSettings
from fusion_ln.terms import is_clinical

if TYPE_CHECKING:
    from fusion_ln.training.draws import TrainingPlan


@click.group(cls=Family)
def run() -> None:
    """Train single-modality baselines, fuse them, and report."""


# Options of a baseline and of a fusion.
training_options = together(
    click.option("--cohort", type=DIRECTORY, help="Cohort folder; by default a simulated cohort."),
    click.option("--out", type=DIRECTORY, help="Folder for the runs.  [default: runs/COHORT]"),
    preset_option("fast; for the simulated cohort: pretrained"),
    settings_options(FitSettings, "backbone", "weights", "image_size", "epochs", "batch_size", "lr", "schedule"),
    settings_options(FitSettings, "patience", "precision"),
    settings_options(BaselineSettings, "protocol", "seed", defaults=True),
    settings_options(
        DrawSettings, defaults=True, metavars={"repeats": "R", "fractions": "F[,F...]"}, split=["fractions"]
    ),
    device_options,
)


def columns_option(flag: str, text: str) -> Callable[[F], F]:
    """Make an option of columns of the cohort's table."""

    def split(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
        names = tuple(filter(None, (name.strip() for name in (value or "").split(","))))
        if value is not None and not names:
            raise click.BadParameter("names no column.")
        return names

    return click.option(flag, "columns", metavar="COLUMN[,COLUMN...]", callback=split, help=text)


@run.command()
@settings_options(BaselineSettings, "modality")
@columns_option("--clinical", "In place of a network: logistic regression on columns of the cohort's table; chance.")
@click.option("--with", "pictures", type=DIRECTORY, multiple=True, help="Run of pictures to stack with --clinical.")
@training_options
@set_option(fit=FitSettings)
def baseline(
    modality: str | None,
    columns: tuple[str, ...],
    pictures: tuple[Path, ...],
    changes: dict[str, dict[str, object]],
    **options: object,
) -> None:
    """Train one network per fold on one modality and report its out-of-fold predictions.

    With --clinical no picture is read: the models without pictures learn in the same folds as the networks.
    """
    if columns:
        _run_columns(columns, pictures, options)
        return
    if modality is None or pictures:
        raise click.UsageError("Give --modality NAME or, for models without pictures, --clinical COLUMN[,COLUMN...].")
    _begin_workers(options)
    from fusion_ln.report.experiment import baseline_heading, write_runs
    from fusion_ln.training.draws import run_draws

    plan = _plan(options, changes)
    if plan is None:
        return
    runs = run_draws(plan.draws, [modality], {}, plan.fit, protocol=plan.protocol, device=plan.device)
    heading = baseline_heading(plan.cohort, modality)
    out, further = runs[0][0].root, list(zip(plan.draws, runs, strict=True))[1:]
    print_paths({**write_runs(out, runs[0], plan.cohort, heading, further=further), **_describe_start(plan)})


@run.command()
@click.option(
    "--head",
    "heads",
    metavar="NAME[,NAME...]",
    help=f"{', '.join((*LATE_HEADS, *TRAINED_HEADS))}. The report leads with the first; {BEST} is that of "
    f"{' and '.join(BEST_OF)} which does better on inner validation.  [default: late-mean; for the simulated cohort: "
    f"{BEST}]",
)
@settings_options(HeadSettings, "tokens", "modality_dropout", "clinical", metavars={"clinical": "COLUMN"})
@columns_option(
    "--clinical-baseline",
    "Columns of the cohort's table: models of them alone, of chance, and of them and the pictures.",
)
@click.option("--finetune", is_flag=True, help="Then train the whole model of each fold, networks and head.")
@settings_options(FinetuneSettings, "accumulate")
@training_options
@set_option(fit=FitSettings, head=HeadSettings)
def fusion(
    heads: str | None,
    tokens: str | None,
    modality_dropout: float | None,
    clinical: tuple[str, ...],
    columns: tuple[str, ...],
    finetune: bool,
    accumulate: int | None,
    changes: dict[str, dict[str, object]],
    **options: object,
) -> None:
    """Train every modality's baseline, fuse them, and report whether fusing helps.

    Baselines that are already in --out with the same settings are reused. The four plain late fusions are
    always computed, since they cost no training, others where they are named; trained heads learn from the tokens of
    the baselines.
    """
    if refused := [name for name in clinical if not is_clinical(name)]:
        raise click.UsageError(
            f"--clinical {refused[0]}: the class, an id, the site, a fold or a reader's column. Name a clinical column "
            "of the cohort (`fusionln cohort stats` lists them)."
        )
    if accumulate is not None and not (finetune or "finetune" in changes["head"]):
        raise click.UsageError("--accumulate belongs to fine-tuning: give --finetune, too.")
    _begin_workers(options)
    from fusion_ln.cohort.clinical import check_encodable
    from fusion_ln.report.experiment import KINDS, fusion_heading, write_runs
    from fusion_ln.report.record import refuse_other_page
    from fusion_ln.training.clinical import run_beside
    from fusion_ln.training.draws import run_draws, teachable_heads
    from fusion_ln.training.experiment_file import check_head_changes, fusion_name, head_settings

    head_options = given({"tokens": tokens, "modality_dropout": modality_dropout, "clinical": clinical})
    if finetune or accumulate is not None:
        head_options["finetune"] = given({"accumulate": accumulate})
    head_changes = merge(head_options, changes["head"], "head")
    heads = heads or ("late-mean" if options["cohort"] else BEST)
    named = [name.strip() for name in heads.split(",")]
    asked = [each for name in named for each in (BEST_OF if name == BEST else [name])]
    wanted = head_settings(dict.fromkeys([*asked, *UNASKED_HEADS]), head_changes, "--head")
    check_head_changes(wanted, head_changes, f"--head {heads}")
    plan = _plan(options, changes, wanted)
    if plan is None:
        return
    refuse_other_page(plan.draws[0].folder, *KINDS)
    cohort = plan.cohort
    if columns:
        check_encodable(cohort, columns)
    modalities = list(cohort.modalities)
    fused = teachable_heads(plan.draws, modalities, wanted, asked)
    runs = run_draws(plan.draws, modalities, fused, plan.fit, protocol=plan.protocol, device=plan.device)
    for draw, of_draw in zip(plan.draws, runs, strict=True) if columns else ():
        first = next(run for run in of_draw if run.name == fusion_name(asked[0]))
        of_draw.extend(run_beside(draw.cohort, columns, [first], draw.folder, seed=draw.seed))
    out, further = plan.draws[0].folder, list(zip(plan.draws, runs, strict=True))[1:]
    rivals = [fusion_name(name) for name in BEST_OF] if BEST in named else []
    pages = write_runs(out, runs[0], cohort, fusion_heading(cohort), further=further, chosen_from=rivals)
    print_paths({**pages, **_describe_start(plan)})


@run.command()
@click.argument("file", type=EXISTING_FILE)
@click.option("--out", type=DIRECTORY, help="Folder for the runs.  [default: runs/NAME]")
@device_options
def experiment(file: Path, out: Path | None, **options: object) -> None:
    """Run every run that the experiment FILE (TOML) names, and report on all of them.

    An experiment with a search space is tuned first, as by `study run` and `study apply`.
    """
    from fusion_ln.compute.engines import join_as_worker, validate_compute
    from fusion_ln.files.folders import refuse_taken
    from fusion_ln.report.experiment import KINDS, Heading, write_experiment
    from fusion_ln.report.record import refuse_other_page
    from fusion_ln.terms import PAGE_RECORD
    from fusion_ln.training.experiment import experiment_cohort, run_experiment
    from fusion_ln.training.experiment_file import experiment_fits, experiment_heads, read_experiment
    from fusion_ln.training.preflight import check_options

    settings = read_experiment(file)
    fits = experiment_fits(settings, str(file))
    heads = experiment_heads(settings, str(file))
    device = take(options, DeviceSettings)
    validate_compute(device, next(iter(fits.values())))
    if join_as_worker(device):
        return
    for fit in fits.values():
        check_options(fit, {} if settings.weights else heads)
    out = out or Path("runs") / settings.name
    refuse_taken(out, PAGE_RECORD)
    refuse_other_page(out, *KINDS)
    if settings.space:
        tune_and_apply(file, out, device)
        return
    cohort = experiment_cohort(settings, file)
    runs = run_experiment(settings, cohort, fits, out, device)
    print_paths(write_experiment(out, runs, cohort, Heading(settings.name, settings.question)))


def _run_columns(columns: tuple[str, ...], pictures: tuple[Path, ...], options: dict[str, object]) -> None:
    """Run the models without pictures, and stack each run of pictures with them."""
    from fusion_ln.cohort.default import open_cohort
    from fusion_ln.report.experiment import columns_heading, write_runs
    from fusion_ln.runs import RunFolder
    from fusion_ln.training.clinical import run_beside

    context = click.get_current_context()
    for name in context.params:
        typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if typed and name not in ("columns", "pictures", "cohort", "out", "seed"):
            flag = {"changes": "set"}.get(name, name.replace("_", "-"))
            raise click.UsageError(f"--{flag} has no effect on --clinical, which trains no network: leave it out.")
    folder, out, seed = options["cohort"], options["out"], options["seed"]
    cohort = open_cohort(folder if isinstance(folder, Path) else None)
    place = out if isinstance(out, Path) else Path("runs") / cohort.name
    seen = [RunFolder(each) for each in pictures]
    runs = run_beside(cohort, columns, seen, place, seed=seed if isinstance(seed, int) else 0)
    heading = columns_heading(cohort, columns, with_pictures=bool(seen))
    print_paths(write_runs(runs[0].root, [*seen, *runs], cohort, heading))


def _begin_workers(options: Mapping[str, object]) -> None:
    """Let the workers of fits load torch while this process does, if there will be any."""
    from fusion_ln.threads import cores

    alone = options["engine"] == "local" and options["devices"] == options["nodes"] == 1
    if alone and options["workers"] != 1 and cores() > 1:
        from fusion_ln.compute.processes import preload_now

        preload_now("fusion_ln.training.crossval", "fusion_ln.training.fusion.head_job")


def _plan(
    options: dict[str, object],
    changes: dict[str, dict[str, object]],
    heads: Mapping[str, HeadSettings | None] = MappingProxyType({}),
) -> "TrainingPlan | None":
    """Plan the training that the options ask for; see `plan_training`."""
    from fusion_ln.settings.training import resolve_fit
    from fusion_ln.training.draws import plan_training

    device, further = take(options, DeviceSettings), take(options, DrawSettings)
    cohort, out, preset = options.pop("cohort"), options.pop("out"), options.pop("preset")
    baseline = BaselineSettings.read(
        {"modality": "", "protocol": options.pop("protocol"), "seed": options.pop("seed")}, "options"
    )
    usual = "fast" if cohort else PRETRAINED
    fit = resolve_fit(str(preset or usual), merge(given(options), changes["fit"], "fit"), "options")
    return plan_training(
        cohort if isinstance(cohort, Path) else None,
        out if isinstance(out, Path) else None,
        fit,
        heads,
        further,
        protocol=baseline.protocol,
        seed=baseline.seed,
        device=device,
    )


def _describe_start(plan: "TrainingPlan") -> dict[str, Path]:
    """Write the page of the pre-training that the plan made first, if it made one."""
    from fusion_ln.report.pretraining import write_pretraining_report

    return {"Pre-training": write_pretraining_report(plan.start)} if plan.start else {}
