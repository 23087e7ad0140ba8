"""Admission: the token in a header, or the cookie that stands for it in a browser."""

import hmac

from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest

from fusion_ln.serve.apps import serve_config

COOKIE, COOKIE_SECONDS = "fusionln_session", 12 * 3600
_OPEN = "open"


def is_token(text: str) -> bool:
    """Compare a text with the server's token; any is right where there is none."""
    token = serve_config().options.token
    return not token or hmac.compare_digest(text.encode(errors="replace"), token.encode())


def has_token(request: HttpRequest) -> bool:
    """Look for the token in the request's header."""
    return is_token(request.headers.get("Authorization", "").removeprefix("Bearer "))


def new_cookie() -> str:
    """Sign the value of a cookie; it holds until the process ends, and no longer than `COOKIE_SECONDS`."""
    return TimestampSigner(salt=COOKIE).sign(_OPEN)


def has_cookie(request: HttpRequest) -> bool:
    """Check the request's cookie."""
    try:
        value: str = TimestampSigner(salt=COOKIE).unsign(request.COOKIES.get(COOKIE, ""), max_age=COOKIE_SECONDS)
    except BadSignature:
        return False
    return value == _OPEN
