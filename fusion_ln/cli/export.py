"""`fusionln export`: a model in the forms that other programs open."""

import shlex
from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, refuse_inside

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("model", type=DIRECTORY)
@click.option("--onnx", type=FILE, help="ONNX file, which needs nothing of fusion_ln: pictures in, probabilities out.")
@click.option("--half", is_flag=True, help="Keep the weights of --onnx in half precision: half the file.")
@click.option(
    "--timm",
    type=DIRECTORY,
    help="New folder for the networks, by modality and, of an ensemble, fold, as timm opens them (`local-dir:`).",
)
@click.option("--hub", type=DIRECTORY, help="New folder of MODEL, its card as README.md, ready to upload to a hub.")
@click.option("--csv", type=FILE, help="CSV file for the out-of-fold predictions of a run.")
@click.option(
    "--page",
    type=DIRECTORY,
    help="Folder for any web space: a page that predicts in the browser and uploads nothing.",
)
def export(
    model: Path, onnx: Path | None, half: bool, timm: Path | None, hub: Path | None, csv: Path | None, page: Path | None
) -> None:
    """Export MODEL, a folder of `fusionln freeze` or a run, in forms that other programs open."""
    if not (onnx or timm or hub or csv or page):
        raise click.UsageError("Give at least one form: --onnx FILE, --timm DIR, --hub DIR, --csv FILE or --page DIR.")
    if half and onnx is None:
        raise click.UsageError("--half belongs to --onnx.")
    refuse_inside(model, {"--onnx": onnx, "--timm": timm, "--hub": hub, "--csv": csv, "--page": page})
    if csv:
        from fusion_ln.export.table import write_table

        write_table(model, csv)
        click.echo(f"Predictions: {csv}")
    if hub:
        from fusion_ln.export.hub import export_hub

        digest = export_hub(model, hub)
        click.echo(f"Hub: {hub}\nDigest: {digest}")
    if onnx or timm or page:
        _export_networks(model, onnx, timm, page, half=half)


def _export_networks(model: Path, onnx: Path | None, timm: Path | None, page: Path | None, *, half: bool) -> None:
    """Export what holds the networks of a model."""
    from fusion_ln.frozen.load import load_model

    loaded = load_model(model)
    if onnx:
        from fusion_ln.export.onnx_file import write_onnx

        write_onnx(loaded, onnx, half=half)
        click.echo(f"ONNX: {onnx}")
    if timm:
        from fusion_ln.export.timm_folder import export_timm

        for place in export_timm(loaded, timm):
            click.echo(f"timm: local-dir:{timm / place}")
    if page:
        from fusion_ln.export.page.folder import write_page

        size = write_page(loaded, page)
        click.echo(f"Page: {page} ({size / 1e6:.0f} MB). Copy it to a web space, or try it here:")
        click.echo(f"  python -m http.server 8000 --bind 127.0.0.1 --directory {shlex.quote(str(page))}")
