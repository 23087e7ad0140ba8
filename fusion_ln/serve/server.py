"""The process: load the model, listen, answer, end."""

import gc
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_ln.errors import SettingsError, pip_install
from fusion_ln.export.page.bundle import INSTALL, STATIC, lack_of_page
from fusion_ln.predict.predictor import Predictor, load_predictor
from fusion_ln.progress import say
from fusion_ln.serve.choice import choose_model
from fusion_ln.serve.keeping import open_keep
from fusion_ln.serve.options import PREFIX, ServeOptions
from fusion_ln.serve.site import django_settings

if TYPE_CHECKING:
    from fusion_ln.serve.apps import ServeConfig

INSTALL_WEB = f"Install it: {pip_install('web')}."


def serve(model: Path | None, options: ServeOptions) -> None:
    """Serve a model until the process is told to end (SIGINT, SIGTERM); what waits is answered first.

    Args:
        model: Its folder, or a run; None: see `choose_model`.
        options: Options of the server.

    Raises:
        SettingsError: If the extra is not installed, or the address cannot be listened on.
        ModelError, RunError: See `load_predictor`.
    """
    try:
        import uvicorn
        from django.core.asgi import get_asgi_application
    except ImportError as error:
        raise SettingsError(f"The server needs {error.name}, which is not installed.", INSTALL_WEB) from None
    if options.keep:
        open_keep(Path(options.keep))
    listener, own_token = _listen(options), not os.environ.get(f"{PREFIX}TOKEN")
    config = open_site(load_predictor(model or choose_model(Path()), engine=options.engine), options)
    from fusion_ln.serve.gate.bodies import BoundedBodies
    from fusion_ln.serve.gate.logs import log_to_stderr

    config.room.warm_up()
    _announce(listener, options, lack=lack_of_page(STATIC), own_token=own_token)
    log_to_stderr()
    gc.freeze()  # what is loaded stays until the end: collections need not look through it
    settings = uvicorn.Config(
        BoundedBodies(get_asgi_application(), options.max_bytes),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
    )
    # Uvicorn takes both, ends, and raises them again. Decoders inherit what is ignored, but no handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        uvicorn.Server(settings).run([listener])
    finally:
        config.room.close()
        config.decoder.close()


def open_site(predictor: Predictor, options: ServeOptions) -> "ServeConfig":
    """Set up Django in this process, once, with a model and its decoders."""
    import django
    from django.conf import settings

    settings.configure(**django_settings(options))
    django.setup()
    from fusion_ln.serve.apps import serve_config
    from fusion_ln.serve.decoding import Decoder
    from fusion_ln.serve.room import ModelRoom

    config = serve_config()
    config.options, config.decoder = options, Decoder(options.seconds)
    config.room = ModelRoom(predictor, options.places)
    return config


def _listen(options: ServeOptions) -> socket.socket:
    """Take the port before anything is loaded."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"{options.host}:{options.port}: cannot be listened on ({error.strerror or error}).",
            "Choose another `--port` (0: any free one) or `--host`.",
        ) from None
    return listener


def _announce(listener: socket.socket, options: ServeOptions, *, lack: str, own_token: bool) -> None:
    """Say what the keeper must know, and last the address."""
    if options.token:
        token = options.token if own_token else f"that {PREFIX}TOKEN holds"
        say(f"The page asks for the token {token}; programs send the header `Authorization: Bearer TOKEN`.")
    if options.keep:
        say(f"What is sent is kept in {options.keep}, with its answers; the page and every answer say so.")
    if lack:
        say(f"{lack} The interface is of this version. {INSTALL}")
    host = f"[{options.host}]" if ":" in options.host else options.host
    say(f"http://{host}:{listener.getsockname()[1]}/  (Ctrl-C ends the server)")
