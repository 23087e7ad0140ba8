"""The server as a program meets it: a process of its own, asked over HTTP."""

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image
from tiny import encode_noise, fusionln, refused

pytest.importorskip("django")
SECRET_WORD = b"Mrs-Unforgettable"


def post(server, files, **options):
    return requests.post(f"{server[0]}/api/v1/predict", files=files, timeout=60, **options)


class Client:
    """Client of a server: what a program needs to ask it.

    Args:
        address: As in ``http://127.0.0.1:8000``.
        token: The server's, if it has one.
        patience: Times to come back to a server whose places are all taken.
    """

    def __init__(self, address, token=None, patience=5):
        self.address, self.patience, self.session = address.rstrip("/"), patience, requests.Session()
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def models(self):
        """List the models that the server asks."""
        return self._call("GET", "models")

    def predict(self, pictures, **clinical):
        """Predict a patient from picture files by modality, and values of clinical columns."""
        return self._send("predict", pictures, clinical)

    def explain(self, pictures, method="", **clinical):
        """Show where the pictures speak for the likeliest class: PNG by modality and method."""
        found = self._send("explain", pictures, clinical, params={"method": method})
        return {m: {name: self._decode(url) for name, url in held.items()} for m, held in found["maps"].items()}

    def _send(self, resource, pictures, clinical, **more):
        files = {modality: path.read_bytes() for modality, path in pictures.items()}
        return self._call("POST", resource, files=files, data=clinical, **more)

    def _call(self, method, resource, **more):
        for attempt in range(self.patience + 1):
            answer = self.session.request(method, f"{self.address}/api/v1/{resource}", timeout=60, **more)
            if answer.status_code != requests.codes.service_unavailable or attempt == self.patience:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        if not answer.ok:
            problem = answer.json()
            raise RuntimeError(f"{problem['detail']} {problem['way_out']}")
        return answer.json()

    @staticmethod
    def _decode(url):
        return base64.b64decode(url.partition(",")[2])


def test_a_program_asks_with_fifty_lines(server, tmp_path):
    client, file = Client(server[0]), tmp_path / "a.png"
    file.write_bytes(encode_noise())
    [served] = client.models()
    answer = client.predict({"2d": file})
    assert set(answer["probabilities"]) == set(served["classes"])
    assert answer == client.predict({"2d": file})
    method = served["methods"][0]["name"]
    assert client.explain({"2d": file}, method)["2d"][method].startswith(b"\x89PNG")
    with pytest.raises(RuntimeError, match=r"not a column of this model\. It takes pictures only"):
        client.predict({"2d": file}, age=40)


def test_the_answer_is_that_of_the_command(server, model, tmp_path):
    for modality, seed in (("2d", 0), ("cdfi", 1)):
        (tmp_path / f"{modality}.png").write_bytes(encode_noise(seed))
    pictures = ("--2d", tmp_path / "2d.png", "--cdfi", tmp_path / "cdfi.png")
    fusionln("predict", model, *pictures, "--json", tmp_path / "here.json")
    fusionln("predict", "--server", server[0], *pictures, "--json", tmp_path / "there.json")
    here, there = (json.loads((tmp_path / name).read_text()) for name in ("here.json", "there.json"))
    assert any("simulated" in warning or "medical device" in warning for warning in there.pop("warnings"))
    del there["warning_codes"]
    del here["patient_id"]
    assert {key: here[key] for key in ("set", "modalities", "kind", "model")} == {
        key: there[key] for key in ("set", "modalities", "kind", "model")
    }
    assert there["probabilities"] == pytest.approx(here["probabilities"], abs=1e-6)
    assert there.keys() == here.keys()


def test_a_picture_that_the_model_was_trained_on_is_said(server, model):
    own = next(model.parent.rglob("P001-2d-0.png"))
    again = io.BytesIO()
    Image.open(own).save(again, "BMP")
    for data, how in ((own.read_bytes(), "the same file"), (again.getvalue(), "nearly the same picture")):
        warned = post(server, {"2d": data}).json()["warnings"]
        assert any(f"2d: the model was trained on this picture ({how}" in each for each in warned)
    assert not any("trained on this" in each for each in post(server, {"2d": encode_noise(3)}).json()["warnings"])


def test_patients_asked_at_once_get_their_own_answers(server):
    questions = [{"2d": encode_noise(seed)} if seed % 2 else {"cdfi": encode_noise(seed)} for seed in range(12)]
    alone = [post(server, files).json() for files in questions]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda files: post(server, files).json(), questions))
    for one, other in zip(alone, together, strict=True):
        assert other["probabilities"] == pytest.approx(one["probabilities"], abs=1e-6)
        assert other["modalities"] == one["modalities"]


def test_a_body_that_is_too_large_is_refused(server):
    answer = post(server, {"2d": bytes(3_000_000)})
    assert (answer.status_code, answer.json()["detail"]) == (413, "More than 2 MB.")


def test_a_body_that_hides_its_size_is_refused(server):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="2d"; filename="a"\r\n\r\n'
    chunks = iter([head, *[bytes(500_000)] * 6])
    answer = requests.post(f"{server[0]}/api/v1/predict", data=chunks, headers=kind, timeout=60)
    assert answer.status_code == 413


def test_other_sites_and_other_names_are_refused(server):
    assert post(server, {"2d": encode_noise()}, headers={"Origin": "https://elsewhere.example"}).status_code == 403
    for origin in ("http://[bad", "null", "127.0.0.1"):
        assert requests.get(f"{server[0]}/api/v1/models", headers={"Origin": origin}, timeout=60).status_code == 403
    answer = requests.get(f"{server[0]}/api/v1/models", headers={"Host": "elsewhere.example"}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "Not a name of this server."


def test_nothing_that_is_sent_is_kept(server):
    name = SECRET_WORD.decode()
    post(server, {"2d": (f"{name}.png", encode_noise() + SECRET_WORD)})
    post(server, {"2d": (f"{name}.png", SECRET_WORD * 100)})
    post(server, {name: (f"{name}.png", encode_noise())}, params={"name": name})
    requests.get(f"{server[0]}/{name}", timeout=60)
    written = [path for path in server[1].rglob("*") if path.is_file()]
    assert server[1] / "log" in written
    assert not [path for path in written if SECRET_WORD in path.read_bytes()]


def test_the_document_names_the_fields_and_every_log_line_is_json(server):
    document = requests.get(f"{server[0]}/api/v1/openapi.json", timeout=60).json()
    body = document["paths"]["/api/v1/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(body["properties"]) == ["2d", "cdfi"]
    [described] = requests.get(f"{server[0]}/api/v1/models", timeout=60).json()
    assert described["modalities"] == ["2d", "cdfi"]
    assert described["licence"] == "CC-BY-4.0"
    assert requests.get(f"{server[0]}/readyz", timeout=60).json() == {"status": "ready"}
    assert 'route="api/v1/models"' in requests.get(f"{server[0]}/metrics", timeout=60).text
    lines = (server[1] / "log").read_text().splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if "Ctrl-C ends" in line) + 1 :]
    assert {"api/v1/models", "readyz"} & {json.loads(line).get("route") for line in lines} == {"api/v1/models"}


def test_headers_keep_pages_of_others_out(server):
    headers = requests.get(f"{server[0]}/api/v1/models", timeout=60).headers
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_a_head_answers_as_a_get_does_without_its_body(server):
    for path in ("/", "/facts", "/healthz", "/api/v1/models", "/api/v1/openapi.json"):
        whole, head = (requests.request(method, server[0] + path, timeout=60) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["Content-Type"] == whole.headers["Content-Type"], path
    assert requests.head(f"{server[0]}/api/v1/predict", timeout=60).status_code == 405


def test_a_token_is_needed_where_it_is_set_and_too_many_requests_wait(model, starter, tmp_path):
    with starter(model, tmp_path / "log", token="let-me-in", per_minute=3) as address:
        url, key = f"{address}/api/v1/models", {"Authorization": "Bearer let-me-in"}
        assert requests.get(url, timeout=60).status_code == 401
        assert [requests.get(url, headers=key, timeout=60).status_code for _ in range(3)] == [200, 200, 429]
        assert requests.get(f"{address}/healthz", timeout=60).status_code == 200


def test_a_mistake_at_the_start_ends_in_one_message(model, monkeypatch, tmp_path):
    assert "8.8.8.8" in refused("serve", model, "--host", "8.8.8.8")
    assert "FUSIONLN_SERVE_NAMES" in refused("serve", model, "--host", "0.0.0.0")
    assert "no answer" in refused("predict", "--server", "http://127.0.0.1:9", "--2d", __file__)
    assert "not the address of a server" in refused("predict", "--server", "nodes.example", "--2d", __file__)
    assert "no such folder" in refused("serve", tmp_path / "absent")
    assert "neither a model" in refused("serve", tmp_path)
    monkeypatch.setenv("FUSIONLN_SERVE_MEGABYTES", "none")
    assert "FUSIONLN_SERVE_MEGABYTES" in refused("serve", model)
    monkeypatch.delenv("FUSIONLN_SERVE_MEGABYTES")
    for name, problem in (("MEGABITES", "no such variable"), ("TOKEN", "expected ASCII without spaces")):
        with monkeypatch.context() as patch:
            patch.setenv(f"FUSIONLN_SERVE_{name}", "a b")
            assert f"FUSIONLN_SERVE_{name}: {problem}" in refused("serve", model)
