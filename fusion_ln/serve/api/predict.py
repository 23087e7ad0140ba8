"""`POST /predict`: the answer for a patient."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.cohort.checks.hashes import KnownHashes
from fusion_ln.errors import CohortError, RunError
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.pictures import read_hashes
from fusion_ln.serve.api.models import warnings_of
from fusion_ln.serve.api.schemas import Failure, Prediction
from fusion_ln.serve.api.uploads import describe_request, picture_warnings, read_question
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.cautions import as_fields
from fusion_ln.serve.gate.logs import LOGGER
from fusion_ln.serve.gate.problems import ProblemError, busy, unprocessable
from fusion_ln.serve.keeping import keep
from fusion_ln.serve.room import RoomFullError

FAILURES = dict.fromkeys((400, 401, 403, 413, 422, 429, 503, 507), Failure)
T = TypeVar("T")


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""
    folder = ModelFolder(model.root)
    known = read_hashes(folder, model.modalities) if model.digest else {}

    @api.post("/predict", response={200: Prediction, **FAILURES}, openapi_extra=describe_request(model))
    async def predict(request: HttpRequest) -> dict[str, object]:
        """Predict a patient from one picture of each of any modalities. The same request gets the same answer."""
        return await _predict(request, model, known)


async def _predict(request: HttpRequest, model: FrozenModel, known: Mapping[str, KnownHashes]) -> dict[str, object]:
    uploads, decoded, question = await read_question(request, model)
    answer = await queued(lambda: serve_config().room.ask(question))
    found = await asyncio.to_thread(picture_warnings, uploads, decoded, known)
    answer |= as_fields([*warnings_of(model), *found])
    if folder := serve_config().options.keep:
        try:
            await asyncio.to_thread(keep, Path(folder), uploads, question.clinical, answer)
        except RunError as error:
            LOGGER.error(error.problem)  # names the keeper's folder alone
            raise ProblemError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                "This server keeps what is sent to it, and could not keep this: no answer.",
                "Tell its keeper, who finds the reason in its log: make room, or start it without `--keep`.",
            ) from None
    return answer


async def queued(ask: Callable[[], Future[T]]) -> T:
    """Wait for the model's room.

    Raises:
        ProblemError: If its queue is full, or a clinical value does not fit.
    """
    try:
        return await asyncio.wrap_future(ask())
    except RoomFullError:
        raise busy("Every place is taken.") from None
    except CohortError as error:
        raise unprocessable(error) from None
