"""Questions to a server, and to what only looks like one."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from fusion_ln.errors import ServerError
from fusion_ln.predict.remote import ask

ANSWER = {
    "probabilities": {"benign": 0.9, "malignant": 0.1},
    "set": ["benign"],
    "modalities": ["2d"],
    "unlike": None,
    "warnings": [],
}


@contextmanager
def listening(answer):
    """Answer every request alike; yields the address and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def picture(tmp_path):
    (path := tmp_path / "a.png").write_bytes(b"a picture")
    return {"2d": path}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_goes_to_this_machine_passes_no_proxy(picture, monkeypatch, host):
    with listening(ANSWER) as (proxy, detoured), listening(ANSWER) as (address, asked):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert ask(address.replace("127.0.0.1", host), picture, {}) == ANSWER
        assert (asked, detoured) == (["/api/v1/predict"], [])
        ask("http://nodes.example", picture, {})  # elsewhere as the environment asks for it
        assert detoured == ["http://nodes.example/api/v1/predict"]


@pytest.mark.parametrize("answer", [{}, [], {**ANSWER, "probabilities": [0.9]}, {**ANSWER, "set": None}])
def test_an_answer_of_another_shape_is_none(picture, answer):
    with (
        listening(answer) as (address, _),
        pytest.raises(ServerError, match="answers, but not as `fusionln serve` does"),
    ):
        ask(address, picture, {})
