"""Pictures and clinical values of a request, and what there is to say about them."""

import asyncio
import base64
from collections.abc import Mapping
from http import HTTPStatus

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from PIL import Image

from fusion_ln.cohort.checks.hashes import KnownHashes
from fusion_ln.errors import PictureError
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.cautions import Caution
from fusion_ln.serve.decoding import Decoded, Upload, encode_png
from fusion_ln.serve.gate.problems import ProblemError, unprocessable
from fusion_ln.serve.room import Question

PICTURE = {"type": "string", "format": "binary", "description": "PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM."}


async def read_question(request: HttpRequest, model: FrozenModel) -> tuple[list[Upload], list[Decoded], Question]:
    """Read what a request asks of the model: its pictures as they were sent and decoded, and the question.

    Raises:
        ProblemError: See `read_uploads`, `read_clinical` and `decode_all`.
    """
    uploads, clinical = read_uploads(request, model), read_clinical(request, model)
    decoded = await decode_all(uploads)
    pictures = {upload.name: each.pixels for upload, each in zip(uploads, decoded, strict=True)}
    return uploads, decoded, Question(pictures, clinical)


def read_uploads(request: HttpRequest, model: FrozenModel) -> list[Upload]:
    """Take the picture of each modality from the request's files.

    Raises:
        ProblemError: If there is none, a field is no modality of the model, or holds several.
    """
    sides = model.record.modalities
    taken = f"It takes {', '.join(sides)}, one picture of each."
    if unknown := [name for name in request.FILES if name not in sides]:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{unknown[0]}: not a modality of this model.", taken)
    uploads = []
    for modality, side in sides.items():
        files = request.FILES.getlist(modality)
        if len(files) > 1:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{modality}: {len(files)} pictures.", taken)
        preparation = model.record.study.preparation
        uploads += [Upload(modality, read_bytes(file), side, preparation) for file in files]
    if not uploads:
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "No picture.", taken)
    return uploads


def read_bytes(file: "UploadedFile[bytes]") -> bytes:
    """Read what a file of the request holds."""
    data: bytes = file.read()
    return data


def read_clinical(request: HttpRequest, model: FrozenModel) -> dict[str, str]:
    """Take the values of clinical columns from the request's other fields.

    Raises:
        ProblemError: If a field is no column of the model.
    """
    values = {name: str(value) for name, value in request.POST.items() if value != ""}
    if unknown := [name for name in values if name not in model.clinical]:
        taken = f"It takes {', '.join(model.clinical)}." if model.clinical else "It takes pictures only."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{unknown[0]}: not a column of this model.", taken)
    return values


async def decode_all(uploads: list[Upload]) -> list[Decoded]:
    """Decode pictures, beside each other.

    Raises:
        ProblemError: If one cannot be read.
    """
    decoder = serve_config().decoder
    try:
        return await asyncio.gather(*(decoder.decode(upload) for upload in uploads))
    except PictureError as error:
        raise unprocessable(error) from None


def picture_warnings(uploads: list[Upload], decoded: list[Decoded], known: Mapping[str, KnownHashes]) -> list[Caution]:
    """List what there is to say about pictures: about their files, and that the model was trained on them."""
    return [warning for each in decoded for warning in each.warnings] + [
        Caution(
            f"{upload.name}: the model was trained on this picture ({how}), so the answer is too good.", "trained-on"
        )
        for upload, each in zip(uploads, decoded, strict=True)
        if upload.name in known and (how := known[upload.name].recognise_copy(each.copy, each.sha256))
    ]


def describe_request(model: FrozenModel) -> dict[str, object]:
    """Describe a request with pictures and clinical values for the OpenAPI document."""
    fields = {**dict.fromkeys(model.modalities, PICTURE), **{name: {"type": "string"} for name in model.clinical}}
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    schema["anyOf"] = [{"required": [modality]} for modality in model.modalities]
    return multipart(schema)


def multipart(schema: dict[str, object]) -> dict[str, object]:
    """Describe a request of form data."""
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def data_url(image: Image.Image | bytes) -> str:
    """Write a picture, or the bytes of its PNG, as a data URL."""
    png = image if isinstance(image, bytes) else encode_png(image)
    return "data:image/png;base64," + base64.b64encode(png).decode()
