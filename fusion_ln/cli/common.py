"""What several commands share: options, and how work ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DIRECTORY = click.Path(file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator; the help lists them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


# What computes one fit.
sharing_options = together(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option(
        "--devices",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="GPUs of a machine (processes, on a CPU) that share one fit.",
    ),
    click.option(
        "--nodes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Machines that share one fit, each with --devices; started by torchrun.",
    ),
)

# Where fits run.
device_options = together(
    sharing_options,
    click.option(
        "--workers", type=click.IntRange(min=1), help="Fits at once.  [default: one per core, or one on a GPU]"
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where fits run: here, or on a Ray cluster.",
    ),
    click.option("--address", metavar="HOST:PORT", help="Of the Ray cluster.  [default: this machine's]"),
)


def device_settings(options: dict[str, Any]) -> Any:
    """Take the options that say where fits run out of ``options``."""
    from fusion_ln.settings import DeviceSettings

    taken = {key: options.pop(key) for key in DeviceSettings.model_fields}
    return DeviceSettings(**{**taken, "workers": taken["workers"] or 0})


def report_runs(out: Path, runs: list[Any], cohort: Any, title: str, question: str = "") -> None:
    """Write the report and name what was written."""
    from fusion_ln.report.run.page import write_report

    _name_written(out, write_report(out, runs, cohort, title=title, question=question))


def report_experiment(out: Path, runs: list[Any], cohort: Any, experiment: Any, question: str) -> None:
    """As `report_runs` and, where models were fused with several seeds, the page on what holds over these."""
    from fusion_ln.report.run.page import write_results
    from fusion_ln.report.run.reading import read_results

    results, seeds = read_results(runs, cohort), None
    if len(experiment.seeds) > 1 and (experiment.heads or experiment.variants):
        from fusion_ln.report.seeds.page import write_seeds

        seeds = write_seeds(out, results, title=experiment.name, question=question)
    _name_written(out, write_results(out, results, title=experiment.name, question=question, seeds=seeds))
    if seeds:
        click.echo(f"Seeds:  {seeds}")


def _name_written(out: Path, report: Path) -> None:
    click.echo(f"Runs:   {out}")
    click.echo(f"Report: {report}")
