"""The Django application: it holds the model's room and the decoder of this process."""

from django.apps import AppConfig, apps

from fusion_ln.serve.decoding import Decoder
from fusion_ln.serve.options import ServeOptions
from fusion_ln.serve.room import ModelRoom

LABEL = "serve"


class ServeConfig(AppConfig):
    """What a request needs, set once before the server listens.

    Attributes:
        room: The model's room.
        decoder: Decoder of uploads.
        options: Options of the server.
    """

    name = "fusion_ln.serve"
    label = LABEL
    room: ModelRoom
    decoder: Decoder
    options: ServeOptions


def serve_config() -> ServeConfig:
    """Return this process's application."""
    config = apps.get_app_config(LABEL)
    assert isinstance(config, ServeConfig)
    return config
