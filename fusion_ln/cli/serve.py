"""`fusionln serve`: a model behind an HTTP interface."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY


@click.command()
@click.argument("model", type=DIRECTORY)
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0: any free one.  [default: 8000]")
def serve(model: Path, host: str | None, port: int | None) -> None:
    """Serve MODEL, a folder of `fusionln freeze` or a run, over HTTP (`/api/v1`).

    For research only, never for a diagnosis. Nothing that is sent is kept. Only this machine can reach the server
    unless --host says otherwise; then every request needs a token. Further options are environment variables,
    FUSIONLN_SERVE_TOKEN, NAMES, MEGABYTES, PLACES, SECONDS, PER_MINUTE, BEHIND_TLS.
    """
    from fusion_ln.serve.options import read_options
    from fusion_ln.serve.server import serve as run_server

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run_server(model, read_options(given))
