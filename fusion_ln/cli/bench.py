"""`fusionln bench`: measured speed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

import click

from fusion_ln.cli.common import DIRECTORY, EXISTING_FILE, Family, together
from fusion_ln.cli.options import settings_options, take
from fusion_ln.settings.base import MOST
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.studies import SamplerName
from fusion_ln.settings.training import FitSettings

if TYPE_CHECKING:
    from fusion_ln.bench.record import Figure

F = TypeVar("F", bound=Callable[..., object])

record_options = together(
    click.option(
        "--against", type=EXISTING_FILE, help="Record of an earlier run (.json), whose ratios stand beside these."
    ),
    click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Also write the record (.json), or the page (any other name).",
    ),
)


def number(name: str, default: int, least: int, text: str, most: int = MOST) -> Callable[[F], F]:
    """Make the option of a size."""
    return click.option(name, type=click.IntRange(least, most), default=default, show_default=True, help=text)


def _print(figures: "Iterable[Figure]", against: Path | None, out: Path | None) -> None:
    from fusion_ln.bench.record import speed_page

    for line in speed_page(figures, against=against, out=out):
        click.echo(line)


@click.group(cls=Family)
def bench() -> None:
    """Measure the speed of this machine's work, each time beside a floor that is measured in the same run."""


@bench.command()
@settings_options(FitSettings, "backbone", "image_size", "batch_size", defaults=True)
@number("--pictures", 256, 16, "Pictures per round.")
@number("--rounds", 5, 1, "Rounds of each loop.")
@settings_options(DeviceSettings, "device", defaults=True)
@record_options
def fit(pictures: int, rounds: int, against: Path | None, out: Path | None, **options: object) -> None:
    """Time training beside a bare PyTorch loop, and beside an ImageFolder + DataLoader loop."""
    from fusion_ln.bench.training import fit_figures

    device, settings = take(options, DeviceSettings), take(options, FitSettings)
    if settings.batch_size > pictures:
        raise click.UsageError(f"--batch-size {settings.batch_size}: more than the {pictures} --pictures of a round.")
    _print(fit_figures(settings, device, n_pictures=pictures, rounds=rounds), against, out)


@bench.command()
@settings_options(FitSettings, "backbone", "image_size", defaults=True)
@number("--pictures", 128, 1, "Pictures.")
@record_options
def tokens(pictures: int, against: Path | None, out: Path | None, **options: object) -> None:
    """Time the tokens that trained heads read, beside their operations at the rate of a matrix product."""
    from fusion_ln.bench.tokens import token_figures

    _print(token_figures(take(options, FitSettings), n_pictures=pictures), against, out)


@bench.command()
@click.option("--head", default="concat", show_default=True, help="Name of the head.")
@number("--patients", 240, 60, "Patients.")
@number("--epochs", 5, 1, "Epochs.")
@record_options
def head(head: str, patients: int, epochs: int, against: Path | None, out: Path | None) -> None:
    """Time the fit of a trained head beside its forward and backward passes and steps alone."""
    from fusion_ln.bench.heads import head_figures

    _print(head_figures(head, patients=patients, epochs=epochs), against, out)


@bench.command()
@click.argument("run", type=DIRECTORY)
@record_options
def explain(run: Path, against: Path | None, out: Path | None) -> None:
    """Time the maps of one patient of RUN, method by method, with all tests."""
    from fusion_ln.bench.explaining import explain_figures

    _print(explain_figures(run), against, out)


@bench.command()
@click.argument("model", type=DIRECTORY)
@number("--patients", 1000, 60, "Simulated patients.")
@record_options
def predict(model: Path, patients: int, against: Path | None, out: Path | None) -> None:
    """Time how long MODEL, or a run that is frozen first, takes to load and to answer."""
    from fusion_ln.bench.answers import predict_figures

    _print(predict_figures(model, patients=patients), against, out)


@bench.command()
@number("--models", 13, 2, "Models to compare.", 1000)
@number("--patients", 586, 30, "Number of patients.")
@number("--resamples", 10_000, 100, "Bootstrap draws.")
@number("--many", 100_000, 30, "Patients of a large study of one model.", 100 * MOST)
@record_options
def compare(models: int, patients: int, resamples: int, many: int, against: Path | None, out: Path | None) -> None:
    """Time bootstrap, tests and corrections beside a copy of a number per patient and draw."""
    from fusion_ln.bench.comparing import compare_figures

    figures = compare_figures(n_models=models, n_patients=patients, n_resamples=resamples, n_many=many)
    _print(figures, against, out)


@bench.command()
@number("--trials", 1000, 10, "Trials of each study.")
@click.option(
    "--storage",
    "storages",
    metavar="URL",
    multiple=True,
    help="Storage of the trials; repeatable.  [default: a journal file]",
)
@click.option(
    "--sampler",
    "samplers",
    type=click.Choice(get_args(SamplerName)),
    multiple=True,
    default=sorted(get_args(SamplerName)),
    show_default=True,
    help="Sampler of the trials; repeatable.",
)
@record_options
def study(
    trials: int, storages: tuple[str, ...], samplers: tuple[SamplerName, ...], against: Path | None, out: Path | None
) -> None:
    """Time trials that compute nothing, the first and the last of a study, beside Optuna alone in memory."""
    from fusion_ln.bench.studies import study_figures

    _print(study_figures(storages, samplers, trials=trials), against, out)


@bench.command("import")
@number("--patients", 60, 30, "Simulated patients.")
@record_options
def import_(patients: int, against: Path | None, out: Path | None) -> None:
    """Time the import of a cohort beside the decoding of its files alone."""
    from fusion_ln.bench.importing import import_figures

    _print(import_figures(patients=patients), against, out)


@bench.command()
@click.argument("runs", type=DIRECTORY, nargs=-1, required=True)
@record_options
def report(runs: tuple[Path, ...], against: Path | None, out: Path | None) -> None:
    """Time the report of RUNS of one cohort beside as many empty figures."""
    from fusion_ln.bench.reporting import report_figures

    _print(report_figures(runs), against, out)


@bench.command()
@number("--rounds", 3, 1, "Processes of each kind.")
@record_options
def start(rounds: int, against: Path | None, out: Path | None) -> None:
    """Time the start of commands beside the imports that they cannot do without."""
    from fusion_ln.bench.starting import start_figures

    _print(start_figures(rounds=rounds), against, out)


@bench.command("all")
@click.argument("run", type=DIRECTORY, required=False)
@record_options
def all_(run: Path | None, against: Path | None, out: Path | None) -> None:
    """Take every figure in small sizes; those of explain, predict and report only with a finished RUN of pictures."""
    from fusion_ln.bench.everything import all_figures

    _print(all_figures(run), against, out)
