"""`POST /pictures`: a picture to be looked at, with its modality guessed."""

from http import HTTPStatus

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.errors import PictureError
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api.predict import FAILURES
from fusion_ln.serve.api.schemas import Preview
from fusion_ln.serve.api.uploads import PICTURE, data_url, multipart, read_bytes
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.cautions import as_fields
from fusion_ln.serve.decoding import LONGEST, Upload
from fusion_ln.serve.gate.problems import ProblemError, unprocessable

FIELD = "picture"
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {FIELD: PICTURE},
    "required": [FIELD],
    "additionalProperties": False,
}


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""

    @api.post("/pictures", response={200: Preview, **FAILURES}, openapi_extra=multipart(SCHEMA))
    async def pictures(request: HttpRequest) -> dict[str, object]:
        """Decode a picture, DICOM and TIFF too, and guess its modality among the model's by its colours."""
        files = request.FILES.getlist(FIELD)
        if len(files) != 1 or len(request.FILES) != 1:
            way_out = f"Send one file, as the field `{FIELD}`."
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "Not one picture.", way_out)
        try:
            found = await serve_config().decoder.preview(Upload(FIELD, read_bytes(files[0]), LONGEST))
        except PictureError as error:
            raise unprocessable(error) from None
        return {
            "modality": found.modality if found.modality in model.modalities else None,
            "width": found.width,
            "height": found.height,
            "preview": data_url(found.png),
            **as_fields(found.warnings),
        }
