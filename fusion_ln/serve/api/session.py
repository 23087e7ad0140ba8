"""`/session`: a browser gives the token once, and holds a cookie in its place."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI

from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api.predict import FAILURES
from fusion_ln.serve.api.schemas import Session, Token
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.gate.admission import COOKIE, COOKIE_SECONDS, has_cookie, has_token, is_token, new_cookie
from fusion_ln.serve.gate.problems import ProblemError


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""

    @api.get("/session", response=Session)
    async def session(request: HttpRequest) -> dict[str, bool]:
        """Say whether a token is needed, and whether this browser has given it."""
        needed = bool(serve_config().options.token)
        return {"needed": needed, "open": not needed or has_token(request) or has_cookie(request)}

    @api.post("/session", response={204: None, **{key: FAILURES[key] for key in (400, 401, 403, 413, 429)}})
    async def open_session(request: HttpRequest, given: Token) -> HttpResponse:
        """Take the token, and answer with a cookie that stands for it."""
        options = serve_config().options
        if not is_token(given.token):
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED, "Not this server's token.", "The server printed it when it started."
            )
        response = HttpResponse(status=HTTPStatus.NO_CONTENT)
        response.set_cookie(
            COOKIE,
            new_cookie(),
            max_age=COOKIE_SECONDS,
            httponly=True,
            secure=options.behind_tls,
            samesite="Strict",
        )
        return response
