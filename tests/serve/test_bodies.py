"""Bodies of requests that are held at once, with an application that answers when it is told to."""

import asyncio
import json

import pytest

pytest.importorskip("django")

from fusion_ln.serve.gate.bodies import HELD, BoundedBodies

MOST = 10  # bytes of one body


def test_bodies_beyond_what_is_held_are_refused_until_others_are_answered():
    asyncio.run(fill_and_empty())


async def fill_and_empty():
    answered = asyncio.Event()

    async def app(scope, receive, send):
        if (await receive())["type"] == "http.request":
            await answered.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    bodies = BoundedBodies(app, MOST)
    held = [asyncio.create_task(ask(bodies)) for _ in range(HELD)]
    await asyncio.sleep(0)  # each reads its body, and waits
    status, headers, problem = await ask(bodies)
    assert (status, headers["retry-after"]) == (503, "2")
    assert "Try again" in problem["way_out"]
    answered.set()
    assert {status for status, *_ in await asyncio.gather(*held)} == {200}
    assert (await ask(bodies))[0] == 200


async def ask(bodies, body=b"x" * MOST):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    await bodies({"type": "http", "headers": []}, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(sent[1]["body"]) if sent[1:] else {}
