"""`fusionln bench`: measured speed."""

from pathlib import Path
from typing import get_args

import click

from fusion_ln.cli.common import DIRECTORY, Family
from fusion_ln.cli.options import settings_options, take
from fusion_ln.settings.base import MOST
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.studies import SamplerName
from fusion_ln.settings.training import FitSettings


@click.group(cls=Family)
def bench() -> None:
    """Measure how fast this machine trains, answers, keeps trials of studies and computes statistics."""


@bench.command()
@settings_options(FitSettings, "backbone", "image_size", "batch_size", defaults=True)
@click.option("--pictures", type=click.IntRange(16, MOST), default=256, show_default=True, help="Pictures per round.")
@click.option("--rounds", type=click.IntRange(1, MOST), default=5, show_default=True, help="Rounds of each loop.")
@settings_options(DeviceSettings, "device", defaults=True)
def fit(pictures: int, rounds: int, **options: object) -> None:
    """Measure pictures per second of our loop, of a bare PyTorch loop, and of an ImageFolder + DataLoader loop."""
    from fusion_ln.bench.training import fit_summary

    device, settings = take(options, DeviceSettings), take(options, FitSettings)
    if settings.batch_size > pictures:
        raise click.UsageError(f"--batch-size {settings.batch_size}: more than the {pictures} --pictures of a round.")
    for line in fit_summary(settings, device, n_pictures=pictures, rounds=rounds):
        click.echo(line)


@bench.command()
@click.argument("model", type=DIRECTORY)
@click.option("--patients", type=click.IntRange(60, MOST), default=1000, show_default=True, help="Simulated patients.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table (Markdown).")
def predict(model: Path, patients: int, out: Path | None) -> None:
    """Time how long MODEL, or a run that is frozen first, takes to load and to answer."""
    from fusion_ln.bench.answers import answers_page
    from fusion_ln.bench.page import save_page

    for line in save_page(answers_page(model, patients=patients), out):
        click.echo(line)


@bench.command()
@click.option("--trials", type=click.IntRange(10, MOST), default=1000, show_default=True, help="Trials of each study.")
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
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table (Markdown).")
def study(trials: int, storages: tuple[str, ...], samplers: tuple[SamplerName, ...], out: Path | None) -> None:
    """Time trials that compute nothing, from the first to the last of a study, in milliseconds."""
    from fusion_ln.bench.page import save_page
    from fusion_ln.bench.studies import study_page

    for line in save_page(study_page(storages, samplers, trials=trials), out):
        click.echo(line)


@bench.command()
@click.option("--models", type=click.IntRange(2, 1000), default=13, show_default=True, help="Models to compare.")
@click.option("--patients", type=click.IntRange(30, MOST), default=586, show_default=True, help="Number of patients.")
@click.option("--resamples", type=click.IntRange(100, MOST), default=10_000, show_default=True, help="Bootstrap draws.")
@click.option(
    "--many",
    type=click.IntRange(30, 100 * MOST),
    default=100_000,
    show_default=True,
    help="Patients of a large study of one model.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table (Markdown).")
def statistics(models: int, patients: int, resamples: int, many: int, out: Path | None) -> None:
    """Measure seconds and memory of bootstrap, tests and corrections."""
    from fusion_ln.bench.page import save_page
    from fusion_ln.bench.statistics import statistics_page

    page = statistics_page(n_models=models, n_patients=patients, n_resamples=resamples, n_many=many)
    for line in save_page(page, out):
        click.echo(line)
