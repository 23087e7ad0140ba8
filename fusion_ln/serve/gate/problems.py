"""Errors as `application/problem+json` (RFC 9457): a status, what is wrong, and the way out."""

import json
from http import HTTPStatus

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from fusion_ln.errors import FusionLNError, PictureError, PictureFault

KIND = "application/problem+json"
RETRY = "2"  # seconds after which a busy server may be asked again


class ProblemError(Exception):
    """A request that cannot be answered.

    Args:
        status: Status of the response.
        detail: Where, what was found and what was expected.
        way_out: What the sender can do.
        headers: Further headers of the response.
        fault: What is wrong with a picture.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        way_out: str,
        headers: dict[str, str] | None = None,
        fault: PictureFault | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.way_out, self.headers, self.fault = status, detail, way_out, headers or {}, fault

    @property
    def body(self) -> str:
        """Body of the response, JSON."""
        return json.dumps(
            {
                "type": "about:blank",
                "title": self.status.phrase,
                "status": self.status.value,
                "detail": self.detail,
                "way_out": self.way_out,
                "fault": self.fault,
            }
        )

    def respond(self) -> HttpResponse:
        """Make the response."""
        return HttpResponse(self.body, content_type=KIND, status=self.status.value, headers=self.headers)


def unprocessable(error: FusionLNError) -> ProblemError:
    """Make the problem of a request whose content does not fit the model."""
    fault = error.fault if isinstance(error, PictureError) else None
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, error.problem, error.way_out, fault=fault)


def busy(detail: str) -> ProblemError:
    """Make the problem of a request for which there is no room now."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, f"Try again in {RETRY} s.", {"Retry-After": RETRY})


def other_method(allowed: str) -> ProblemError:
    """Make the problem of a method that an address does not take."""
    way_out = f"It takes {allowed}." if allowed else "Methods are listed in /api/v1/openapi.json."
    headers = {"Allow": allowed} if allowed else None
    return ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, "Not a method of this address.", way_out, headers)


def without_mark() -> ProblemError:
    """Make the problem of a request that a browser sends with its cookie but without the page's own mark."""
    way_out = "Load the page anew, or send the header `Authorization: Bearer TOKEN`."
    return ProblemError(HTTPStatus.FORBIDDEN, "Without the page's mark against forged requests.", way_out)


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request without the mark where Django itself looks for it."""
    return without_mark().respond()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django could not parse, or that names another host."""
    if isinstance(exception, DisallowedHost):
        way_out = "Ask under a name that its keeper has set (FUSIONLN_SERVE_NAMES)."
        return ProblemError(HTTPStatus.BAD_REQUEST, "Not a name of this server.", way_out).respond()
    return ProblemError(
        HTTPStatus.BAD_REQUEST, "Not a request that can be read.", "Send multipart/form-data."
    ).respond()


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer for an address that does not exist."""
    return ProblemError(
        HTTPStatus.NOT_FOUND, "Nothing is here.", "Addresses are listed in /api/v1/openapi.json."
    ).respond()


def failed(request: HttpRequest) -> HttpResponse:
    """Answer after an error of the server."""
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; its log says why.", "Try once more, or tell its keeper."
    ).respond()
