"""The interface within this process: what each resource answers, and to whom."""

import base64
import dataclasses
import io
import json
import multiprocessing
import os
import re
import signal
import tempfile
import zipfile
from multiprocessing.context import SpawnProcess
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from PIL import Image
from tiny import encode_noise, write_explanation

from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.runs import RunFolder
from fusion_ln.serve.options import ServeOptions
from fusion_ln.serve.site import django_settings

pytest.importorskip("django")
schemathesis = pytest.importorskip("schemathesis")
DRAWN = settings(
    max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False
)


def opened(url):
    assert url.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def test_an_answer_says_what_each_modality_alone_would_say(site, config):
    answer = site.post("/api/v1/predict", {"2d": encode_noise(0), "cdfi": encode_noise(1)}).json()
    one = site.post("/api/v1/predict", {"2d": encode_noise(0)}).json()
    assert list(answer["alone"]) == ["2d", "cdfi"]
    assert list(answer["engine"]) == ["name", "version"]
    assert answer["alone"]["2d"] == pytest.approx(one["alone"]["2d"], abs=1e-6)
    assert list(one["alone"]) == ["2d"]
    assert sum(answer["alone"]["cdfi"].values()) == pytest.approx(1)


def test_an_explanation_shows_the_pictures_that_the_model_sees(site, config):
    from fusion_ln.images.prepare import prepare_picture

    sent = encode_noise(5)
    found = site.post("/api/v1/explain", {"2d": sent}).json()
    answer = site.post("/api/v1/predict", {"2d": sent}).json()
    assert found["target"] == max(answer["probabilities"], key=answer["probabilities"].get)
    side = config.room.predictor.model.record.modalities["2d"]
    seen = np.asarray(opened(found["pictures"]["2d"])).transpose(2, 0, 1)
    assert (seen == prepare_picture(np.asarray(Image.open(io.BytesIO(sent))), side)).all()
    names = [method["name"] for method in found["methods"]]
    assert list(found["maps"]) == ["2d"]
    assert list(found["maps"]["2d"]) == names
    layer = opened(found["maps"]["2d"][names[-1]])
    assert (layer.mode, layer.size) == ("RGBA", (side, side))
    assert names == [method["name"] for method in site.get("/api/v1/models").json()[0]["methods"]]
    only = site.post(f"/api/v1/explain?method={names[-1]}", {"2d": sent}).json()
    assert list(only["maps"]["2d"]) == names[-1:]
    assert "method" in site.post("/api/v1/explain?method=tea-leaves", {"2d": sent}).json()["detail"]


def test_a_picture_is_shown_and_its_modality_guessed(site):
    grey, coloured, wide = (np.full((60, 1300, 3), 90, np.uint8) for _ in range(3))
    coloured[:, :60] = 255, 0, 0
    wide[:, :800] = 255, 0, 0
    found = []
    for pixels in (grey, coloured, wide):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "TIFF")
        found.append(site.post("/api/v1/pictures", {"picture": file.getvalue()}).json())
    assert [each["modality"] for each in found] == ["2d", "cdfi", None]  # elastography is no modality of the model
    assert (found[0]["width"], found[0]["height"]) == (1300, 60)
    assert max(opened(found[0]["preview"]).size) == 640
    assert site.post("/api/v1/pictures", {"2d": encode_noise()}).status_code == 422


def test_the_model_and_its_cohort_are_described_for_a_reader(site):
    [served] = site.get("/api/v1/models").json()
    assert served["class_titles"]["lymphoma"] == "Lymphoma"
    assert served["modality_titles"]["cdfi"] == "Colour Doppler (CDFI)"
    assert served["modality_colours"]["2d"][0].startswith("#")
    assert served["coverage"] == 0.9
    assert served["has_facts"]
    assert served["has_report"]
    assert served["evaluations"] == []
    cohort = site.get("/api/v1/cohort").json()
    assert cohort["name"] == served["cohort"]
    assert (cohort["licence"], served["licence"]) == ("none", "CC-BY-4.0")  # of the cohort, and of the weights
    assert cohort["pictures"] == {"2d": 24, "cdfi": 24}
    assert any("zenodo.org" in each["url"] for each in cohort["data_sets"])
    *_, source = cohort["code"]
    found = site.get(source["url"])
    assert found["Content-Disposition"] == f'attachment; filename="{source["title"]}"'
    assert source["licence"] == "Apache-2.0"
    assert zipfile.is_zipfile(io.BytesIO(found.content))


def test_examples_are_simulated_and_of_every_class(site):
    examples = site.get("/api/v1/examples").json()
    assert {example["class"] for example in examples} == {"benign", "lymphoma", "metastatic"}
    assert all(list(example["pictures"]) == ["2d", "cdfi"] for example in examples)
    for modality, address in examples[0]["pictures"].items():
        data = site.get(address).content
        assert Image.open(io.BytesIO(data)).size == (PhantomSettings().image_size,) * 2  # other sizes look unlike it
        assert site.post("/api/v1/pictures", {"picture": data}).json()["modality"] == modality
    assert site.get("/api/v1/examples/benign-9/2d.png").status_code == 404


def test_a_browser_gives_the_token_once(locked_site, site):
    assert site.get("/api/v1/session").json() == {"needed": True, "open": False}
    assert locked_site.get("/api/v1/models").status_code == 401
    assert locked_site.get("/api/v1/models", authorization="Bearer let-me-in").status_code == 200
    assert locked_site.get("/api/v1/models", authorization="Bearer öther").status_code == 401
    mark = csrf_mark(locked_site)
    wrong = locked_site.post_json("/api/v1/session", {"token": "let-me-out"}, x_csrftoken=mark)
    assert (wrong.status_code, wrong["Content-Type"]) == (401, "application/problem+json")
    assert locked_site.post_json("/api/v1/session", {"token": "let-me-in"}).status_code == 403
    assert locked_site.post_json("/api/v1/session", {"token": "let-me-in"}, x_csrftoken=mark).status_code == 204
    cookie = locked_site.cookies["fusionln_session"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert "let-me-in" not in cookie.value
    assert locked_site.get("/api/v1/session").json() == {"needed": True, "open": True}
    assert locked_site.get("/api/v1/models").status_code == 200
    assert site.get("/api/v1/models").status_code == 401


def test_a_cookie_alone_forges_nothing(locked_site):
    mark = csrf_mark(locked_site)
    locked_site.post_json("/api/v1/session", {"token": "let-me-in"}, x_csrftoken=mark)
    files = {"2d": encode_noise()}
    refused = locked_site.post("/api/v1/predict", files)
    assert (refused.status_code, refused["Content-Type"]) == (403, "application/problem+json")
    assert locked_site.post("/api/v1/predict", files, x_csrftoken=mark).status_code == 200
    locked_site.cookies["fusionln_session"] = "open"
    assert locked_site.get("/api/v1/models").status_code == 401


def csrf_mark(site):
    from django.middleware.csrf import get_token
    from django.test import RequestFactory

    request = RequestFactory().get("/")
    mark = get_token(request)
    site.cookies["fusionln_csrf"] = request.META["CSRF_COOKIE"]
    return mark


@pytest.mark.parametrize(
    ("files", "words", "fault"),
    [
        ({}, "No picture", None),
        ({"elastic": encode_noise()}, "elastic: not a modality", None),
        ([("2d", encode_noise()), ("2d", encode_noise(1))], "2d: 2 pictures", None),
        ({"2d": b"no picture at all"}, "2d: holds text", "not-a-picture"),
        ({"2d": encode_noise()[:300]}, "2d: truncated", "damaged"),
        ({"2d": b""}, "2d: ", "empty"),
    ],
)
def test_a_refusal_names_the_field_the_fault_and_the_way_out(site, files, words, fault):
    for resource in ("predict", "explain"):
        answer = site.post(f"/api/v1/{resource}", files)
        problem = answer.json()
        assert answer.status_code == problem["status"] == 422
        assert problem["fault"] == fault
        assert answer["Content-Type"] == "application/problem+json"
        assert problem["detail"].startswith(words)
        assert problem["way_out"].endswith(".")
        assert b"/proc" not in answer.content


def test_pages_hold_a_policy_without_exceptions(site):
    from fusion_ln.export.page.bundle import INDEX, STATIC

    for path in ("/", "/facts", "/report", "/api/docs", "/api/v1/models"):
        answer = site.get(path)
        policy = answer["Content-Security-Policy"]
        assert answer.status_code == 200
        assert "unsafe" not in policy
        source = "'self'" if path == "/" and (STATIC / INDEX).is_file() else "'none'"
        assert f"default-src {source};" in policy
        assert b"style=" not in answer.content
    document = site.get("/api/v1/openapi.json").json()
    listed = re.findall(r"</span><code>([^<]*)</code></h2>", site.get("/api/docs").content.decode())
    assert list(dict.fromkeys(listed)) == list(document["paths"])
    assert json.dumps(document).count("binary") >= 4


def test_a_model_without_a_comparison_report_offers_none(site, model, monkeypatch):
    from fusion_ln.frozen.folder import ModelFolder

    monkeypatch.setattr(ModelFolder, "report", model / "none.html")
    assert not site.get("/api/v1/models").json()[0]["has_report"]
    assert site.get("/report").status_code == 404


def test_frames_that_nobody_looks_at_are_counted(site, config):
    first, *rest = (Image.open(io.BytesIO(encode_noise(seed))) for seed in range(3))
    first.save(file := io.BytesIO(), "GIF", save_all=True, append_images=rest)
    answer = site.post("/api/v1/predict", {"2d": file.getvalue(), "cdfi": encode_noise(1)}).json()
    shown = site.post("/api/v1/pictures", {"picture": file.getvalue()}).json()
    assert "2d: the file holds 3 frames; the first alone is used." in answer["warnings"]
    assert shown["warnings"] == ["picture: the file holds 3 frames; the first alone is used."]
    assert shown["warning_codes"] == ["first-frame"]
    assert dict(zip(answer["warnings"], answer["warning_codes"], strict=True)) == {
        "Research software and no medical device: never for a diagnosis.": "no-device",
        "2d: the file holds 3 frames; the first alone is used.": "first-frame",
    }


def test_a_cine_is_refused_where_the_study_chose_its_frames():
    from fusion_ln.errors import PictureError
    from fusion_ln.records.parts import Preparation
    from fusion_ln.serve.decoding import Upload, decode

    study = Preparation(frames="best")
    first, second = (Image.open(io.BytesIO(encode_noise(seed))) for seed in range(2))
    first.save(file := io.BytesIO(), "GIF", save_all=True, append_images=[second])
    for data in (file.getvalue(), b"RIFF....AVI LIST" + bytes(600)):
        with pytest.raises(PictureError, match=r"^2d: a file of several frames(.|\n)*Send the frame alone as PNG"):
            decode(Upload("2d", data, 32, study))
    assert decode(Upload("2d", encode_noise(), 32, study)).pixels.shape == (3, 32, 32)


def test_a_cine_gives_the_frame_that_the_study_took():
    from fusion_ln.records.parts import Preparation
    from fusion_ln.serve.decoding import Upload, decode

    first, second = (Image.open(io.BytesIO(encode_noise(seed))) for seed in range(2))
    first.save(file := io.BytesIO(), "TIFF", save_all=True, append_images=[second])
    decoded = decode(Upload("2d", file.getvalue(), 32, Preparation(frame=1)))
    np.testing.assert_array_equal(decoded.pixels, decode(Upload("2d", encode_noise(1), 32)).pixels)
    assert [each.text for each in decoded.warnings] == [
        "2d: the file holds 2 frames; frame 1, counted from 0 and as in the model's study, alone is used."
    ]


def test_a_decoders_own_words_are_not_repeated():
    from fusion_ln.errors import PictureError
    from fusion_ln.serve.decoding import Upload, decode

    with pytest.raises(PictureError, match=r"^2d: truncated or damaged\.\n"):
        decode(Upload("2d", encode_noise()[:200], 32))


def test_the_report_on_a_run_is_its_own_or_that_of_its_folder(tmp_path):
    from fusion_ln.frozen.load import FrozenModel
    from fusion_ln.serve.page import report_of

    run, frozen = (FrozenModel(tmp_path / "run", None, (), {}, {}, digest) for digest in (None, "d"))
    assert report_of(run) == tmp_path / "report.html"
    assert report_of(frozen) == tmp_path / "run/report.html"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/report.html").touch()
    assert report_of(run) == tmp_path / "run/report.html"


def test_a_run_says_that_its_pictures_are_not_looked_for(config):
    from fusion_ln.serve.api.models import warnings_of

    model = config.room.predictor.model
    for digest, said in (("d", 0), (None, 1)):
        warnings = warnings_of(dataclasses.replace(model, digest=digest))
        assert sum("does not check whether a picture" in each.text for each in warnings) == said


def test_the_maps_that_the_study_trusts_most_are_offered_beside_grad_cam(config, monkeypatch):
    from fusion_ln.explanations import MapTests
    from fusion_ln.serve.api.models import methods_of

    monkeypatch.setitem(vars(config.room), "explainer", SimpleNamespace(fitting=("gradcam", "ig", "occlusion")))
    model = config.room.predictor.model
    for gain, expected in ((0.3, {"gradcam": False, "occlusion": True}), (0.1, {"gradcam": False, "ig": False})):
        tests = MapTests(method="occlusion", title="Occlusion", gain=gain, random=0.2, patients=12)
        tested = dataclasses.replace(model, record=model.record.model_copy(update={"map_tests": tests}))
        assert {each["name"]: each["trusted"] for each in methods_of(tested)} == expected


def test_a_run_offers_the_maps_of_an_explanation_that_ends_while_it_is_served(config, tmp_path):
    from fusion_ln.serve.api.models import methods_of

    run = RunFolder(tmp_path)
    run.predictions.write_bytes(b"predictions")
    served = dataclasses.replace(config.room.predictor.model, digest=None, root=tmp_path)
    assert not any(each["trusted"] for each in methods_of(served))
    write_explanation(run, {"occlusion": [(0.9, 0.5)], "random": [(0.5, 0.4)]})
    assert [each["name"] for each in methods_of(served) if each["trusted"]] == ["occlusion"]


def test_other_methods_and_forged_requests_are_problems(site):
    for path in ("/", "/facts", "/api/v1/models"):
        answer = site.post(path)
        assert answer.status_code in {403, 405}, path
        assert answer["Content-Type"] == "application/problem+json", path


def check_operation(operation, mode):
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    excluded = [positive_data_acceptance] if operation.method == "post" else []  # drawn bytes are no picture

    @DRAWN
    @seed(1)
    @given(case=operation.as_strategy(schemathesis.GenerationMode(mode)))
    def check(case):
        case.call_and_validate(excluded_checks=excluded)

    check()


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_the_interface_answers_as_its_document_says(config, mode):
    """Schemathesis draws requests, sound and unsound, from the document."""
    from django.core.asgi import get_asgi_application

    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", get_asgi_application())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 11
    for operation in operations:
        if mode == "positive" or operation.method == "post":  # the others take nothing that could be wrong
            check_operation(operation, mode)


def test_hostile_files_are_refused_or_answered_and_leave_nothing(site, config, caplog, tmp_path, monkeypatch):
    from hostile_uploads import KINDS, MARK, hostile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    statuses = {}
    for number in range(14 * len(KINDS)):
        kind, data = hostile(number, 100_000)
        path, name = (("predict", "2d"), ("pictures", "picture"))[number // len(KINDS) % 2]
        answer = site.post(f"/api/v1/{path}", {name: data})
        statuses.setdefault(kind, set()).add(answer.status_code)
        assert MARK not in answer.content
    assert set().union(*statuses.values()) <= {200, 422}
    assert all(422 in statuses[kind] for kind in ("truncated", "altered", "hostile DICOM"))
    assert statuses["bomb"] == statuses["other type"] == {422}
    assert MARK.decode() not in caplog.text
    assert not list(tmp_path.iterdir())
    assert site.post("/api/v1/predict", {"2d": encode_noise()}).status_code == 200


def test_a_decoder_that_dies_is_replaced(site, config):
    """As after a crash or a kill by the system for want of memory."""
    site.post("/api/v1/pictures", {"picture": encode_noise()})  # starts them
    decoders = [each for each in multiprocessing.active_children() if isinstance(each, SpawnProcess)]
    assert decoders  # other tests' servers are forked
    for each in decoders:
        os.kill(each.pid, signal.SIGKILL)
    answers = [site.post("/api/v1/pictures", {"picture": encode_noise()}) for _ in range(3)]
    assert [answer.status_code for answer in answers[1:]] == [200, 200]
    assert answers[0].status_code in {200, 422}


def test_the_settings_pass_django_s_deployment_check_behind_tls(config):
    from django.core.checks import run_checks
    from django.test import override_settings

    values = django_settings(ServeOptions(behind_tls=True))
    with override_settings(**values):
        assert run_checks(include_deployment_checks=True) == []
    assert values["SECURE_HSTS_SECONDS"] >= 31_536_000
