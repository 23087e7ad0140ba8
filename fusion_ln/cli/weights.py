"""`fusionln weights`: public weights, looked at and imported."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusion_ln.cli.common import F, Family, together
from fusion_ln.cli.options import plain_value
from fusion_ln.models.weights.presets import PRESETS, Channels

if TYPE_CHECKING:
    from fusion_ln.models.weights.importer import ImportRequest


@click.group(cls=Family)
def weights() -> None:
    """Look at weight files that others publish, and import them for `--weights`."""


def _channels(_: click.Context, __: click.Parameter, text: str | None) -> Channels | None:
    """Read one number, or three with commas between."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3) or not all(abs(value) < 1000 for value in values):
        raise click.BadParameter(f"{text!r} is neither one number nor three with commas between.")
    first, second, third = values * (3 // len(values))
    return first, second, third


def _deviations(context: click.Context, parameter: click.Parameter, text: str | None) -> Channels | None:
    values = _channels(context, parameter, text)
    if values and min(values) <= 0:
        raise click.BadParameter(f"{text!r}: a standard deviation is above 0.")
    return values


def _arguments(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, object]:
    """Read ``KEY=VALUE`` texts."""
    found: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        plain = plain_value(value)
        if not (equals and key.isidentifier() and isinstance(plain, bool | int | float | str | list)):
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE.")
        found[key] = tuple(plain) if isinstance(plain, list) else plain
    return found


def request_options(command: F) -> F:
    """Add the options that say of which network a file is."""
    return together(
        click.argument("file", type=click.Path(exists=True, path_type=Path)),
        click.option("--as", "preset", type=click.Choice(list(PRESETS)),
                     help="Publication of the file, whose network, normalisation, licence and data sets are known."),
        click.option("--backbone", metavar="NAME", help="Network of the file, where no preset tells: any timm name."),
        click.option("--argument", "arguments", metavar="KEY=VALUE", multiple=True, callback=_arguments,
                     help="Constructor argument of timm's network, as in `num_heads=12`; repeatable."),
        click.option("--mean", metavar="R,G,B", callback=_channels, help="Mean that was taken off pictures in 0..1."),
        click.option("--std", metavar="R,G,B", callback=_deviations, help="Standard deviation of the same."),
        click.option("--allow-missing", "allowed", metavar="NAME", multiple=True,
                     help="Tensors that the file may lack, as in `norm`; they begin as drawn. Repeatable."),
    )(command)  # fmt: skip


@weights.command()
@request_options
def inspect(file: Path, **options: object) -> None:
    """Say which network FILE fits, what matches, what is left over, and what is assumed. Nothing is written.

    Without --as and --backbone, usual networks are tried.
    """
    from fusion_ln.models.weights.describe import describe_fit
    from fusion_ln.models.weights.importer import inspect_weights

    name, fit = inspect_weights(file, _request(options))
    _print_lines(describe_fit(fit, name))


@weights.command("import")
@request_options
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="New .safetensors file.")
def import_file(file: Path, out: Path, **options: object) -> None:
    """Import FILE as weights for `--weights`, with its normalisation, arguments and licence in the metadata."""
    from fusion_ln.models.weights.describe import describe_fit
    from fusion_ln.models.weights.importer import import_weights

    name, fit = import_weights(file, out, _request(options))
    _print_lines({**describe_fit(fit, name), "Written": str(out)})
    size = f" --image-size {side}" if (side := fit.side) else ""
    click.echo(f"Next:       fusionln run fusion --weights {out} --backbone {name}{size}")


def _print_lines(lines: dict[str, str]) -> None:
    for name, text in lines.items():
        click.echo(f"{name + ':':11} {text}")


def _request(options: dict[str, object]) -> "ImportRequest":
    from fusion_ln.models.weights.importer import ImportRequest

    return ImportRequest(**options)  # type: ignore[arg-type]
