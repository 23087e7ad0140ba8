"""The Django application: it holds the model's room and the decoder of this process."""

from django.apps import AppConfig, apps

from fusion_ln.serve.decoding import Decoder
from fusion_ln.serve.options import ServeOptions
from fusion_ln.serve.room import ModelRoom

APP_LABEL = "serve"


class ServeConfig(AppConfig):
    """State that requests need, set once before the server listens.

    Attributes:
        room: The model's room.
        decoder: Decoder of uploads.
        options: Options of the server.
    """

    name = "fusion_ln.serve"
    label = APP_LABEL
    room: ModelRoom
    decoder: Decoder
    options: ServeOptions


def serve_config() -> ServeConfig:
    """Return this process's application."""
    config = apps.get_app_config(APP_LABEL)
    assert isinstance(config, ServeConfig)
    return config
