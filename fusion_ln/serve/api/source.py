"""`GET /source`: the source of the package that answers, as an archive."""

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI

from fusion_ln.export.source import ARCHIVE, pack_source
from fusion_ln.frozen.load import FrozenModel

ZIP = {
    "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    "description": "The archive.",
}


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""

    @api.get("/source", openapi_extra={"responses": {200: ZIP}})
    def source(request: HttpRequest) -> HttpResponse:
        """Return the source of the package that answers, with its licence."""
        headers = {"Content-Disposition": f'attachment; filename="{ARCHIVE}"'}
        return HttpResponse(pack_source(), content_type="application/zip", headers=headers)
