"""The interface of one model."""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema

from fusion_ln import __version__
from fusion_ln.frozen.card import NOT_A_DEVICE
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api import cohort, examples, explain, models, pictures, predict, session, source
from fusion_ln.serve.api.schemas import Health
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.gate.problems import KIND, ProblemError

AT_THE_DOOR = (400, 401, 403, 429)  # unreadable, without token, forged, too often
RESOURCES = (predict, explain, pictures, models, cohort, source, examples, session)


class ProblemApi(NinjaAPI):
    """An interface whose document says what holds for every answer: what may go wrong, and in which form."""

    def get_openapi_schema(self, *args: Any, **kwargs: Any) -> OpenAPISchema:
        """Describe the interface; failures are problems, and any request may be refused at the door."""
        schema = super().get_openapi_schema(*args, **kwargs)
        for operations in schema["paths"].values():
            for operation in operations.values():
                answers = operation["responses"]
                for status in AT_THE_DOOR:
                    answers.setdefault(status, {"description": HTTPStatus(status).phrase})
                for status in [status for status in answers if int(status) >= 400]:
                    answers[status]["content"] = {KIND: {"schema": {"$ref": "#/components/schemas/Failure"}}}
        return schema


def build_api(model: FrozenModel) -> NinjaAPI:
    """Build the interface of one model; its modalities and columns are fields of the requests."""
    api = ProblemApi(title="fusion_ln", version=__version__, description=NOT_A_DEVICE, docs_url=None)
    api.add_exception_handler(ProblemError, _respond)
    api.add_exception_handler(HttpError, lambda _, error: _parse_failure(str(error)).respond())
    api.add_exception_handler(ValidationError, lambda _, error: _parse_failure(_first(error)).respond())
    for resource in RESOURCES:
        resource.add_to(api, model)

    @api.get("/health", response=Health)
    async def health(request: HttpRequest) -> dict[str, object]:
        """Say which version answers, and how many questions wait."""
        return {"version": __version__, "waiting": serve_config().room.waiting}

    return api


def _respond(request: HttpRequest, problem: ProblemError | type[ProblemError]) -> HttpResponse:
    assert isinstance(problem, ProblemError)
    return problem.respond()


def _first(error: ValidationError | type[ValidationError]) -> str:
    """Describe the first value that does not fit; never the value, which may be a secret."""
    assert isinstance(error, ValidationError)
    first = error.errors[0]
    return f"{'.'.join(map(str, first['loc'][1:])) or 'The request'}: {first['msg']}."


def _parse_failure(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, "Compare the request with /api/v1/openapi.json.")
