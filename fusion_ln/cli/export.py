"""`fusionln export`: a model in the forms that other programs open."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fusion_ln.cli.common import DIRECTORY, Command, check_outputs

if TYPE_CHECKING:
    from fusion_ln.export.loss import Loss
    from fusion_ln.frozen.load import FrozenModel

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("model", type=DIRECTORY)
@click.option(
    "--onnx",
    type=FILE,
    help="ONNX file, which needs nothing of fusion_ln: one picture of each modality in, probabilities out.",
)
@click.option("--half", is_flag=True, help="Keep the weights of --onnx in half precision: half the file.")
@click.option(
    "--int8",
    is_flag=True,
    help="Let the networks of --onnx compute in 8 bits, calibrated on --cohort; prints what that costs.",
)
@click.option(
    "--cohort",
    type=DIRECTORY,
    help="Cohort whose patients show the loss of --half or --int8; a third, at most 64, calibrate --int8 instead.",
)
@click.option(
    "--maps", is_flag=True, help="Add Grad-CAM maps to --onnx, where the networks and the head are CNNs and an MLP."
)
@click.option(
    "--timm",
    type=DIRECTORY,
    help="New folder for the networks, by modality and, of an ensemble, fold, as timm opens them (`local-dir:`).",
)
@click.option("--hub", type=DIRECTORY, help="New folder of MODEL, its card as README.md, ready to upload to a hub.")
@click.option("--csv", type=FILE, help="CSV file for the out-of-fold predictions of a run, not calibrated.")
@click.option(
    "--page",
    type=DIRECTORY,
    help="Folder for any web space: a page that predicts in the browser and uploads nothing.",
)
def export(
    model: Path,
    onnx: Path | None,
    half: bool,
    int8: bool,
    cohort: Path | None,
    maps: bool,
    timm: Path | None,
    hub: Path | None,
    csv: Path | None,
    page: Path | None,
) -> None:
    """Export MODEL, a folder of `fusionln freeze` or a run, in forms that other programs open."""
    if not (onnx or timm or hub or csv or page):
        raise click.UsageError("Give at least one form: --onnx FILE, --timm DIR, --hub DIR, --csv FILE or --page DIR.")
    _check_onnx(onnx, half=half, int8=int8, cohort=cohort, maps=maps)
    places = {"--onnx": onnx, "--timm": timm, "--hub": hub, "--csv": csv, "--page": page}
    check_outputs(places, [model, cohort])
    if csv:
        from fusion_ln.export.table import write_table

        write_table(model, csv)
        click.echo(f"Predictions: {csv}")
    if hub:
        from fusion_ln.export.hub import export_hub

        digest = export_hub(model, hub)
        click.echo(f"Hub: {hub}\nDigest: {digest}")
    if onnx or timm or page:
        from fusion_ln.frozen.load import load_model

        loaded = load_model(model)
        if onnx and int8 and cohort:
            _export_int8(loaded, onnx, cohort)
        elif onnx:
            _export_onnx(loaded, onnx, cohort, half=half, maps=maps)
        _export_networks(loaded, timm, page)


def _check_onnx(onnx: Path | None, *, half: bool, int8: bool, cohort: Path | None, maps: bool) -> None:
    """Refuse options of --onnx that have no effect."""
    for option, value in {"--half": half, "--int8": int8, "--maps": maps}.items():
        if value and onnx is None:
            raise click.UsageError(f"{option} belongs to --onnx.")
    if int8 and (half or maps):
        raise click.UsageError("--int8 goes with neither --half nor --maps: export twice.")
    if int8 and not cohort:
        raise click.UsageError("--int8 and --cohort DIR belong together: its pictures set the scales.")
    if cohort and not (int8 or half):
        raise click.UsageError("--cohort belongs to --int8 or --half: it shows their loss.")


def _export_onnx(loaded: "FrozenModel", onnx: Path, cohort: Path | None, *, half: bool, maps: bool) -> None:
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.export.loss import measure_loss
    from fusion_ln.export.onnx_file import write_onnx

    opened = load_cohort(cohort) if cohort else None
    explained = write_onnx(loaded, onnx, half=half, explanations=maps)
    click.echo(f"ONNX: {onnx}")
    if maps and not explained:
        click.echo("No maps: they need CNNs whose last stage has more than one cell, under late fusion or an MLP head.")
    if opened:
        _print_loss(measure_loss(loaded, onnx, opened))
    elif half:
        click.echo("Not known what half precision costs: --cohort DIR names patients to measure it on.")


def _export_int8(loaded: "FrozenModel", onnx: Path, cohort: Path) -> None:
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.export.int8 import write_int8

    loss = write_int8(loaded, onnx, load_cohort(cohort))
    click.echo(f"ONNX: {onnx}")
    _print_loss(loss)


def _print_loss(loss: "Loss") -> None:
    auc = "not known (a class has fewer than two patients)" if loss.auc is None else f"{loss.auc:+.4f}"
    others = f"{loss.calibrated} patients set the scales. " if loss.calibrated else ""
    noun = "others" if loss.calibrated else "patients"
    click.echo(
        f"{others}Of {loss.patients} {noun} {100 * loss.agreement:.1f} % keep their likeliest class; probabilities "
        f"change by up to {loss.largest:.3f}; loss of AUC {auc}."
    )


def _export_networks(loaded: "FrozenModel", timm: Path | None, page: Path | None) -> None:
    """Export the networks of a model for timm, and its page."""
    if timm:
        from fusion_ln.export.timm_folder import export_timm

        for place in export_timm(loaded, timm):
            click.echo(f"timm: local-dir:{timm / place}")
    if page:
        from fusion_ln.export.page.folder import write_page

        size = write_page(loaded, page)
        click.echo(f"Page: {page} ({size / 1e6:.0f} MB). Copy it to a web space, or try it here:")
        click.echo(f"  python -m http.server 8000 --bind 127.0.0.1 --directory {shlex.quote(str(page))}")
