"""Addresses of the server."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from fusion_ln.serve import page
from fusion_ln.serve.api.build import build_api
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.gate.middleware import WAITING


async def healthz(request: HttpRequest) -> JsonResponse:
    """Answer as long as the process lives."""
    return JsonResponse({"status": "alive"})


async def readyz(request: HttpRequest) -> JsonResponse:
    """Answer whether a question would be answered now: 200, or 503 while every place is taken."""
    config = serve_config()
    full = config.room.waiting >= config.options.places
    return JsonResponse({"status": "full" if full else "ready"}, status=503 if full else 200)


async def metrics(request: HttpRequest) -> HttpResponse:
    """Write the figures of this process in Prometheus' text format."""
    WAITING.set(serve_config().room.waiting)
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


handler400 = "fusion_ln.serve.gate.problems.bad_request"
handler404 = "fusion_ln.serve.gate.problems.not_found"
handler500 = "fusion_ln.serve.gate.problems.failed"

api = build_api(serve_config().room.predictor.model)
urlpatterns = [
    path("", page.index),
    path("assets/<path:name>", page.asset),
    path("facts", page.facts),
    path("report", page.report),
    path("api/docs", page.docs),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("api/v1/", api.urls),
]
