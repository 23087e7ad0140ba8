"""`fusionln serve`: a model behind an HTTP interface, and its page."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, Command
from fusion_ln.cli.options import given, settings_options
from fusion_ln.serve.options import ServeOptions, read_options

OFFERED = [name for name in ServeOptions.model_fields if name != "token"]  # which every user of the machine could read
DEFAULTS = {name: ServeOptions.model_fields[name].default for name in OFFERED}


@click.command(cls=Command)
@click.argument("model", type=DIRECTORY, required=False)
@settings_options(
    ServeOptions,
    *OFFERED,
    metavars={"host": "ADDRESS", "names": "NAME,...", "keep": "DIR"},
    shown={name: value for name, value in DEFAULTS.items() if value not in {"", False}},
)
def serve(model: Path | None, **options: object) -> None:
    """Serve MODEL, a folder of `fusionln freeze` or a run, over HTTP: a page for browsers, and `/api/v1`.

    Without MODEL the newest model or run in this folder is served, also from some folders down, as in `runs`; where
    there is none, a small one is trained on simulated patients, once, and kept in the cache.

    For research only, never for a diagnosis. Nothing that is sent is kept, unless --keep says so. Only this machine
    can reach the server unless --host says otherwise; then every request needs a token. Each option is an environment
    variable, too (FUSIONLN_SERVE_PORT), and the token is nothing else (FUSIONLN_SERVE_TOKEN).
    """
    from fusion_ln.serve.server import serve as run_server

    run_server(model, read_options(given(options)))
