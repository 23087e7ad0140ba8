"""Prediction by a server of `fusionln serve`."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema

from fusion_ln.errors import PictureError, ServerError
from fusion_ln.settings.addresses import is_loopback

TOKEN = "FUSIONLN_SERVE_TOKEN"  # variable with the server's token
TIMEOUT_SECONDS = 60
START = "Start one with `fusionln serve MODEL`, and give its address, as in http://127.0.0.1:8000."


class RemoteAnswer(BaseModel):
    """A server's answer, by what no answer lacks; see `Prediction` of the server."""

    probabilities: dict[str, float]
    set: list[str]
    modalities: list[str]
    unlike: bool | None
    warnings: list[str]


def ask(server: str, pictures: Mapping[str, Path], clinical: Mapping[str, str]) -> dict[str, object]:
    """Send a patient's pictures to a server.

    Args:
        server: Its address, as in ``http://127.0.0.1:8000``.
        pictures: Picture file by modality.
        clinical: Value by clinical column.

    Returns:
        Its answer, as in the JSON of `fusionln predict`, with ``warnings``.

    Raises:
        PictureError: If a file cannot be read.
        ServerError: If no server answers, or it refuses; its message says why.
    """
    token = os.environ.get(TOKEN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with ExitStack() as stack:
        try:
            files = {name: ("picture", stack.enter_context(path.open("rb"))) for name, path in pictures.items()}
        except OSError as error:
            raise PictureError(f"{error.filename}: cannot be read ({error.strerror}).", "Give another file.") from None
        url = f"{server.rstrip('/')}/api/v1/predict"
        try:
            response = requests.post(
                url,
                files=files,
                data=dict(clinical),
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                proxies=_without_detour(url),
            )
            answer = response.json()
        except requests.JSONDecodeError:
            raise _not_ours(url) from None
        except (MissingSchema, InvalidSchema, InvalidURL):
            raise ServerError(f"{server}: not the address of a server.", START) from None
        except (requests.RequestException, ValueError) as error:
            raise ServerError(f"{url}: no answer ({type(error).__name__}).", START) from None
    if not isinstance(answer, dict):
        raise _not_ours(url)
    if not response.ok:
        unauthorized = response.status_code == requests.codes.unauthorized
        way_out = f"Set the variable {TOKEN}." if unauthorized else str(answer.get("way_out", ""))
        raise ServerError(f"{url}: refused ({response.status_code}). {answer.get('detail', '')}", way_out)
    try:
        RemoteAnswer.model_validate(answer)
    except ValidationError:
        raise _not_ours(url) from None
    return answer


def _without_detour(url: str) -> dict[str, str]:
    """Keep what goes to this machine from a proxy that the environment names: pictures would leave the machine."""
    host = urlsplit(url).hostname or ""
    return {"no_proxy": host} if is_loopback(host) else {}


def _not_ours(url: str) -> ServerError:
    return ServerError(f"{url}: answers, but not as `fusionln serve` does.", START)
