"""The interface `/api/v1`: predict, the model, health."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError

from fusion_ln import __version__
from fusion_ln.cohort.checks.hashes import PictureHashes
from fusion_ln.errors import CohortError, PictureError
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel, read_hashes
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.decoding import Decoded, Upload
from fusion_ln.serve.problems import ProblemError, unprocessable
from fusion_ln.serve.room import Question, RoomFullError

NOT_A_DEVICE = "Research software and no medical device: never for a diagnosis."
RETRY = "2"  # seconds


class ModelName(Schema):
    """The model of an answer."""

    title: str
    digest: str | None


class Prediction(Schema):
    """The answer for a patient, as in the JSON of `fusionln predict`, with what a reader must know."""

    probabilities: dict[str, float]
    set: list[str]
    contributions: dict[str, float]
    modalities: list[str]
    kind: str
    unlike: bool | None
    model: ModelName
    warnings: list[str]


class ServedModel(Schema):
    """A model that this server asks."""

    title: str
    digest: str | None
    classes: list[str]
    modalities: list[str]
    clinical: list[str]
    answer: str
    licence: str
    cohort: str
    patients: dict[str, int]
    simulated: bool
    warnings: list[str]


class Health(Schema):
    """State of the server."""

    version: str
    waiting: int


class Failure(Schema):
    """Problem of a request, and the way out."""

    title: str
    status: int
    detail: str
    way_out: str


def build_api(model: FrozenModel) -> NinjaAPI:
    """Build the interface of one model; its modalities and columns are fields of the request."""
    api = NinjaAPI(title="fusion_ln", version=__version__, description=NOT_A_DEVICE, docs_url=None)
    api.add_exception_handler(ProblemError, _respond)
    api.add_exception_handler(HttpError, lambda _, error: _parse_failure(str(error)).respond())
    api.add_exception_handler(ValidationError, lambda _, error: _parse_failure(str(error)).respond())
    folder = ModelFolder(model.root)
    known = {m: read_hashes(folder, m) for m in model.modalities} if model.digest else {}
    failures = dict.fromkeys((400, 401, 403, 413, 422, 429, 503), Failure)

    @api.post("/predict", response={200: Prediction, **failures}, openapi_extra=_describe_request(model))
    async def predict(request: HttpRequest) -> dict[str, object]:
        """Predict a patient from one picture of each of any modalities. The same request gets the same answer."""
        return await _predict(request, model, known)

    @api.get("/models", response=list[ServedModel])
    async def models(request: HttpRequest) -> list[dict[str, object]]:
        """List the models that this server asks."""
        return [_describe(model)]

    @api.get("/health", response=Health)
    async def health(request: HttpRequest) -> dict[str, object]:
        """State of the server."""
        return {"version": __version__, "waiting": serve_config().room.waiting}

    return api


def _respond(request: HttpRequest, problem: ProblemError | type[ProblemError]) -> HttpResponse:
    assert isinstance(problem, ProblemError)
    return problem.respond()


async def _predict(request: HttpRequest, model: FrozenModel, known: Mapping[str, PictureHashes]) -> dict[str, object]:
    config, uploads = serve_config(), _uploads(request, model)
    clinical = _clinical(request, model)
    try:
        decoded = await asyncio.gather(*(config.decoder.decode(upload) for upload in uploads))
    except PictureError as error:
        raise unprocessable(error) from None
    pictures = {upload.name: each.pixels for upload, each in zip(uploads, decoded, strict=True)}
    try:
        answer = await asyncio.wrap_future(config.room.ask(Question(pictures, clinical)))
    except RoomFullError:
        detail, way_out = "Every place is taken.", f"Try again in {RETRY} s."
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, way_out, {"Retry-After": RETRY}) from None
    except CohortError as error:  # a clinical value that does not fit
        raise unprocessable(error) from None
    learnt = await asyncio.to_thread(_training_warnings, uploads, decoded, known)
    return {**answer, "warnings": [*_warnings(model), *_picture_warnings(uploads, decoded), *learnt]}


def _uploads(request: HttpRequest, model: FrozenModel) -> list[Upload]:
    """Take the picture of each modality from the request's files."""
    sides = model.record.modalities
    taken = f"It takes {', '.join(sides)}, one picture of each."
    if unknown := [name for name in request.FILES if name not in sides]:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{unknown[0]}: not a modality of this model.", taken)
    uploads = []
    for modality, side in sides.items():
        files = request.FILES.getlist(modality)
        if len(files) > 1:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{modality}: {len(files)} pictures.", taken)
        uploads += [Upload(modality, _read(file), side) for file in files]
    if not uploads:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "No picture.", taken)
    return uploads


def _read(file: "UploadedFile[bytes]") -> bytes:
    data: bytes = file.read()
    return data


def _clinical(request: HttpRequest, model: FrozenModel) -> dict[str, str]:
    """Take the values of clinical columns from the request's other fields."""
    values = {name: str(value) for name, value in request.POST.items() if value != ""}
    if unknown := [name for name in values if name not in model.clinical]:
        taken = f"It takes {', '.join(model.clinical)}." if model.clinical else "It takes pictures only."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{unknown[0]}: not a column of this model.", taken)
    return values


def _warnings(model: FrozenModel) -> list[str]:
    """List what whoever reads an answer of the model must know."""
    warnings = [NOT_A_DEVICE]
    if model.record.study.simulated:
        warnings.append("Trained on simulated patients: it says nothing about real ones.")
    if model.record.study.protocol == "paper":
        warnings.append("It stopped early on the patients who then tested it: its figures are too good.")
    return warnings


def _picture_warnings(uploads: list[Upload], decoded: list[Decoded]) -> list[str]:
    return [
        f"{upload.name}: text stands in the picture, as its file says; it may name the patient."
        for upload, each in zip(uploads, decoded, strict=True)
        if each.burned_in_text
    ]


def _training_warnings(uploads: list[Upload], decoded: list[Decoded], known: Mapping[str, PictureHashes]) -> list[str]:
    """Name the pictures that the model was trained on, as far as it knows them."""
    return [
        f"{upload.name}: the model was trained on this picture ({how}), so the answer is too good."
        for upload, each in zip(uploads, decoded, strict=True)
        if upload.name in known and (how := known[upload.name].recognise_copy(each.copy, each.sha256))
    ]


def _describe(model: FrozenModel) -> dict[str, object]:
    record = model.record
    return {
        "title": record.title,
        "digest": model.digest,
        "classes": list(record.classes),
        "modalities": model.modalities,
        "clinical": model.clinical,
        "answer": record.answer,
        "licence": record.licence,
        "cohort": record.study.cohort,
        "patients": record.study.patients,
        "simulated": record.study.simulated,
        "warnings": _warnings(model),
    }


def _describe_request(model: FrozenModel) -> dict[str, object]:
    """Describe the request for the OpenAPI document."""
    picture = {"type": "string", "format": "binary", "description": "PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM."}
    fields = {**dict.fromkeys(model.modalities, picture), **{name: {"type": "string"} for name in model.clinical}}
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    schema["anyOf"] = [{"required": [modality]} for modality in model.modalities]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _parse_failure(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, "Compare the request with /api/v1/openapi.json.")
