"""Options that several commands share, and the lines that they end with."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click

from fusion_ln.cli.options import settings_options
from fusion_ln.settings.base import LAST_SEED
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import PRESETS

DIRECTORY = click.Path(file_okay=False, path_type=Path)
SEED_RANGE = click.IntRange(0, LAST_SEED)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

F = TypeVar("F", bound=Callable[..., object])


class Command(click.Command):
    """A command that refuses an option given twice, of which click keeps the last without a word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        single = [each for each in given if isinstance(each, click.Option) and not each.multiple and not each.is_flag]
        for option, times in Counter(single).items():
            if times > 1 and not ctx.resilient_parsing:
                shape = f", as {option.metavar}" if option.metavar and "," in option.metavar else ""
                raise click.UsageError(f"{option.opts[-1]} is given {times} times. Give it once{shape}.", ctx)
        return super().parse_args(ctx, args)


class Family(click.Group):
    """A group of commands; its help shows the whole first sentence of each."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(n, each.get_short_help_str(limit=200)) for n, each in commands.items() if each])


# The cohort of finished runs.
moved_cohort_option = click.option(
    "--cohort", type=DIRECTORY, help="Cohort folder, if it has moved since the runs were made on it."
)


def frame_option(default: str) -> Callable[[F], F]:
    """Make the option of the frame to take from files with several, whose help states the default."""
    return click.option(
        "--frame",
        type=click.IntRange(min=0),
        help=f"Frame of files with several frames, counted from 0.  [default: {default}]",
    )


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Join several options in one decorator; the help lists them in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def sharing_options(command: F) -> F:
    """Add the options of the devices that share one fit."""
    return settings_options(DeviceSettings, "device", "devices", "nodes", defaults=True)(command)


def device_options(command: F) -> F:
    """Add the options of all devices."""
    return settings_options(DeviceSettings, defaults=True)(command)


def population_options(command: F) -> F:
    """Add the options of the population and the costs that probabilities are used for."""
    return together(
        click.option(
            "--prevalence",
            metavar="CLASS=SHARE,...",
            default="",
            help="Shares of the classes in another population, as in `benign=0.7,lymphoma=0.1,metastatic=0.2`: "
            "calibrated probabilities are shifted to it. Exact only if pictures of a class look alike in both places.",
        ),
        click.option(
            "--costs",
            metavar="TRUTH:DECISION=COST,... or FILE",
            default="",
            help="Decide by least expected cost. `metastatic:benign=10`: taking a true metastatic for benign costs 10, "
            "any other mistake 1, a right decision 0. Or a CSV or Excel file: a line per true class, named in "
            "its first column, and a column per decision, which may be an action such as `biopsy`.",
        ),
    )(command)


def preset_option(shown: str) -> Callable[[F], F]:
    """Make the option of the preset, None where it was not given, whose help states the default."""
    return click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help="Settings that other options change: fast suits two CPU cores; pretrained, too, from networks that are "
        f"pre-trained first; paper is Jiang et al. 2025.  [default: {shown}]",
    )


def check_outputs(outputs: Mapping[str, Path | None], read: Sequence[Path | None]) -> None:
    """Refuse places to be written, by option, that are read, lie in a folder that is read, or are given twice."""
    options: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        for root in filter(None, read):
            if place == root.resolve():
                raise click.UsageError(f"{option} {path}: is read. Name another place.")
            if place.is_relative_to(root.resolve()):
                raise click.UsageError(
                    f"{option} {path}: lies in {root}, which must stay as it is. Name another place."
                )
        if place in options:
            raise click.UsageError(f"{option} {path}: is the place of {options[place]}. Name another one.")
        options[place] = option


def print_paths(paths: Mapping[str, Path]) -> None:
    """Print what was written: a name and a path a line."""
    width = max(map(len, paths)) + 1
    for name, path in paths.items():
        click.echo(f"{name + ':':{width}} {path}")
