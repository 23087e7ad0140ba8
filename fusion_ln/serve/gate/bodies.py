"""Bodies of requests: each within a size, and all that are held at once within a few times of it."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fusion_ln.serve.gate.policy import OF_ANSWERS
from fusion_ln.serve.gate.problems import KIND, ProblemError, busy

Message = Mapping[str, Any]  # as ASGI defines it
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

DRAINED = 4  # times the size that is admitted: read and dropped before the refusal
HELD = 8  # times the size that is admitted: of all requests together, also of those whose token is not read yet


class BoundedBodies:
    """Refuse requests with more bytes than are admitted, whatever their headers say, and those beyond what is held.

    Args:
        app: Answers requests; it holds a body until it has answered.
        max_bytes: Of one body.
    """

    def __init__(self, app: App, max_bytes: int) -> None:
        self._app, self._max_bytes, self._held = app, max_bytes, 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem, read, more = self._announced(scope), 0, True

        async def receive_bounded() -> Message:
            nonlocal problem, read, more
            message = await receive()
            size, more = len(message.get("body", b"")), bool(message.get("more_body"))
            read, self._held = read + size, self._held + size
            if read > self._max_bytes:
                problem = self._too_large()
            elif size and self._held > HELD * self._max_bytes:
                problem = busy("The requests that are being answered hold as many bytes as the server admits.")
            return {"type": "http.disconnect"} if problem else message

        async def send_unless_refused(message: Message) -> None:
            if not problem:
                await send(message)

        try:
            if not problem:
                await self._app(scope, receive_bounded, send_unless_refused)
        finally:
            self._held -= read
        if problem:
            if more:
                await _drain(receive, DRAINED * self._max_bytes)
            await _refuse(send, problem)

    def _announced(self, scope: Mapping[str, Any]) -> ProblemError | None:
        """Refuse by the size that the headers name, before a byte is read."""
        sizes = [value for name, value in scope["headers"] if name == b"content-length"]
        return self._too_large() if sizes and sizes[0].isdigit() and int(sizes[0]) > self._max_bytes else None

    def _too_large(self) -> ProblemError:
        way_out = "Send smaller pictures, or one patient at a time."
        return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"More than {self._max_bytes / 1e6:g} MB.", way_out)


async def _drain(receive: Receive, most: int) -> None:
    """Read the rest of a body without keeping it: a sender whose bytes nobody takes would not see the answer."""
    while most > 0:
        message = await receive()
        most -= len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


async def _refuse(send: Send, problem: ProblemError) -> None:
    headers = {
        "content-type": KIND,
        "connection": "close",
        "content-security-policy": OF_ANSWERS,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        **{name.lower(): value for name, value in problem.headers.items()},
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status.value, "headers": encoded})
    await send({"type": "http.response.body", "body": problem.body.encode()})
