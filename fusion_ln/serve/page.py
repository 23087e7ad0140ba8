"""Pages for browsers: the application, as it was built with the package, and documents beside it."""

import gzip
import json
import mimetypes
import secrets
from functools import cache
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from jinja2 import Environment, PackageLoader

from fusion_ln.export.page.bundle import INDEX, STATIC
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.runs import RunFolder
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.gate.policy import of_application, of_document

ASSETS = "/assets/"
COMPRESSED = ("text/", "application/javascript", "application/json", "image/svg+xml")
HTML = "text/html; charset=utf-8"


async def index(request: HttpRequest) -> HttpResponse:
    """Return the application or, where it was not built, a page that says how to get it."""
    if not (STATIC / INDEX).is_file():
        return _document(_render("bare.html"))
    nonce = secrets.token_urlsafe(16)
    page = (
        (STATIC / INDEX).read_text(encoding="utf-8").replace("__NONCE__", nonce).replace("__CSRF__", get_token(request))
    )
    return HttpResponse(page, content_type=HTML, headers={"Content-Security-Policy": of_application(nonce)})


async def asset(request: HttpRequest, name: str) -> HttpResponse:
    """Return a file of the application; its name changes with its content, so a browser may keep it for ever."""
    found = _assets().get(name)
    if found is None:
        raise Http404
    content, packed, kind = found
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if packed and "gzip" in request.headers.get("Accept-Encoding", ""):
        return HttpResponse(packed, content_type=kind, headers=headers | {"Content-Encoding": "gzip"})
    return HttpResponse(content, content_type=kind, headers=headers)


async def facts(request: HttpRequest) -> HttpResponse:
    """Return the model's page of facts."""
    return _stored(ModelFolder(serve_config().room.predictor.model.root).facts)


async def report(request: HttpRequest) -> HttpResponse:
    """Return the comparison report of the model or run that is served."""
    return _stored(report_of(serve_config().room.predictor.model))


def report_of(model: FrozenModel) -> Path:
    """Name the report that a model took along; on a run its own, else that of all runs of its folder."""
    if model.digest:
        return ModelFolder(model.root).report
    own = RunFolder(model.root).report
    return own if own.is_file() else RunFolder(model.root.parent).report


async def docs(request: HttpRequest) -> HttpResponse:
    """Return the OpenAPI document as a page to read."""
    from fusion_ln.serve.urls import api  # which lists this page

    document = json.loads(json.dumps(api.get_openapi_schema()))
    return _document(_render("docs.html", document=document))


def _stored(file: Path) -> HttpResponse:
    if not file.is_file():
        raise Http404
    page, policy = _read_document(file, file.stat().st_mtime_ns)
    return HttpResponse(page, content_type=HTML, headers={"Content-Security-Policy": policy})


@cache
def _read_document(file: Path, written: int) -> tuple[str, str]:
    """Read a stored page with its policy, once for each time that it is written."""
    return of_document(file.read_text(encoding="utf-8", errors="replace"))


def _document(page: str) -> HttpResponse:
    page, policy = of_document(page)
    return HttpResponse(page, content_type=HTML, headers={"Content-Security-Policy": policy})


def _render(template: str, **values: object) -> str:
    environment = Environment(loader=PackageLoader("fusion_ln.serve"), autoescape=True, trim_blocks=True)
    return environment.get_template(template).render(values)


@cache
def _assets() -> dict[str, tuple[bytes, bytes | None, str]]:
    """Read every file of the application: its bytes, those packed by gzip where that helps, and its type."""
    found = {}
    for path in sorted(STATIC.glob("assets/**/*")):
        if path.is_file():
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            kind = "application/javascript" if kind == "text/javascript" else kind
            content = path.read_bytes()
            packed = gzip.compress(content, 9, mtime=0) if kind.startswith(COMPRESSED) else None
            found[path.relative_to(STATIC / "assets").as_posix()] = (content, packed, kind)
    return found
