"""Layers that every request passes: measuring, headers, and admission by origin, token and rate."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import async_only_middleware
from ninja.utils import check_csrf
from prometheus_client import Counter, Gauge, Histogram

from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.gate.admission import has_cookie, has_token
from fusion_ln.serve.gate.logs import LOGGER
from fusion_ln.serve.gate.policy import OF_ANSWERS
from fusion_ln.serve.gate.problems import ProblemError, other_method, without_mark
from fusion_ln.serve.page import ASSETS

GetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
OPEN = frozenset({"/healthz", "/readyz"})  # what anyone may ask, and no log counts
WITHOUT_TOKEN = frozenset({"/", "/api/v1/session"})  # the page that asks for the token; and its `ASSETS`
MOST_ADDRESSES = 10_000  # of which the rate is remembered

REQUESTS = Counter("fusionln_requests", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("fusionln_request_seconds", "Seconds from a request to its answer.", ["route"])
WAITING = Gauge("fusionln_waiting", "Questions that wait for the model.")


@async_only_middleware
def observe(get_response: GetResponse) -> GetResponse:
    """Count, time and log each request by its route; nothing of its content."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response = await get_response(request)
        if request.path in OPEN:
            return response
        took = time.perf_counter() - began
        route = request.resolver_match.route if request.resolver_match else "unknown"
        method = request.method if request.method in {"GET", "POST", "HEAD", "OPTIONS"} else "OTHER"
        REQUESTS.labels(method, route, response.status_code).inc()
        REQUEST_SECONDS.labels(route).observe(took)
        facts = {"method": method, "route": route, "status": response.status_code, "ms": round(1000 * took, 1)}
        LOGGER.info("request", extra={"facts": facts})
        return response

    return middleware


@async_only_middleware
def harden(get_response: GetResponse) -> GetResponse:
    """Add the headers that Django's own middleware leaves out."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        response = await get_response(request)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response = other_method(response.headers.get("Allow", "")).respond()
        response.headers.setdefault("Content-Security-Policy", OF_ANSWERS)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware


@async_only_middleware
def admit(get_response: GetResponse) -> GetResponse:
    """Refuse other sites' pages, requests without the token, and addresses that ask too often."""
    buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path in OPEN:
            return await get_response(request)
        problem = _refuse_origin(request) or _refuse_rate(request, buckets) or _refuse_token(request)
        return problem.respond() if problem else await get_response(request)

    return middleware


@async_only_middleware
def answer_head(get_response: GetResponse) -> GetResponse:
    """Answer HEAD as GET; the server leaves the body out (RFC 9110, 9.3.2)."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.method != "HEAD":
            return await get_response(request)
        request.method = "GET"
        response = await get_response(request)
        request.method = "HEAD"
        return response

    return middleware


def _refuse_origin(request: HttpRequest) -> ProblemError | None:
    """Refuse a browser's request that another site's page makes."""
    host, origin = request.get_host(), request.headers.get("Origin")  # the first refuses names that are not its own
    if origin is None or origin.partition("://")[2] == host:
        return None
    return ProblemError(HTTPStatus.FORBIDDEN, "Sent by a page of another site.", "Ask from this server's own pages.")


def _refuse_token(request: HttpRequest) -> ProblemError | None:
    """Refuse a request without the token; in its place counts a cookie, with the page's own mark against forgery."""
    if has_token(request) or (request.method in {"GET", "HEAD"} and request.path.startswith(ASSETS)):
        return None
    open_to_all = request.path in WITHOUT_TOKEN
    if (open_to_all or has_cookie(request)) and check_csrf(request) is None:
        return None
    if open_to_all or has_cookie(request):
        return without_mark()
    way_out = "Send the header `Authorization: Bearer TOKEN`; the server printed the token when it started."
    return ProblemError(
        HTTPStatus.UNAUTHORIZED, "No token, or not this server's.", way_out, {"WWW-Authenticate": "Bearer"}
    )


def _refuse_rate(request: HttpRequest, buckets: OrderedDict[str, tuple[float, float]]) -> ProblemError | None:
    """Take a place from the address's bucket, which fills up again at the rate that is allowed."""
    per_minute = serve_config().options.per_minute
    address, now = request.META.get("REMOTE_ADDR") or "", time.monotonic()
    left, seen = buckets.pop(address, (float(per_minute), now))
    left = min(float(per_minute), left + (now - seen) * per_minute / 60)
    buckets[address] = (left - 1 if left >= 1 else left, now)
    while len(buckets) > MOST_ADDRESSES:
        buckets.popitem(last=False)
    if left >= 1:
        return None
    wait = str(round((1 - left) * 60 / per_minute) + 1)
    detail = f"More than {per_minute} requests a minute from one address."
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, f"Try again in {wait} s.", {"Retry-After": wait})
