"""`fusionln export`: a model in the forms that other programs open."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("model", type=DIRECTORY)
@click.option("--onnx", type=FILE, help="ONNX file, which needs nothing of fusion_ln: pictures in, probabilities out.")
@click.option("--half", is_flag=True, help="Keep the weights of --onnx in half precision: half the file.")
def export(model: Path, onnx: Path | None, half: bool) -> None:
    """Export MODEL, a folder of `fusionln freeze` or a run, in forms that other programs open."""
    if onnx is None:
        raise click.UsageError("Give at least one form: --onnx FILE.")
    if half and onnx is None:
        raise click.UsageError("--half belongs to --onnx.")
    from fusion_ln.export.onnx_file import write_onnx
    from fusion_ln.frozen.load import load_model

    loaded = load_model(model)
    if onnx:
        write_onnx(loaded, onnx, half=half)
        click.echo(f"ONNX: {onnx}")
