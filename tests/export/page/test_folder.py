"""The folder of a page: what it holds, what it replaces, and what is refused before anything is written."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from tiny import fusionln

from fusion_ln.errors import ModelError, RunError
from fusion_ln.export.page import folder
from fusion_ln.export.page.parts import PageParts


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """An application in the place of the built one, and parts in the place of traced ones."""
    root = tmp_path / "static/page"
    (root / "assets").mkdir(parents=True)
    (root.parent / "index.html").touch()
    (root / "assets/page-1.js").write_text("1")
    page = '<meta http-equiv="Content-Security-Policy" content="__POLICY__" /><script nonce="__NONCE__"></script>'
    (root / "index.html").write_text(page)
    (root / "offline.js").write_text("const [edition, kept] = [__EDITION__, __KEPT__];")
    monkeypatch.setattr(folder, "BUNDLE", root)
    parts = PageParts({"body-0-0": b"body"}, b"tail", {"body-0-0": [2, 1, 1]}, None)
    monkeypatch.setattr(folder, "split_model", lambda model: parts)
    monkeypatch.setattr(folder, "draw_examples", list)
    return root


def test_a_page_brings_a_policy_with_one_relaxation_and_names_nobody(bundle, convolutional, tmp_path):
    size = folder.write_page(convolutional, tmp_path / "page")
    files = {path.relative_to(tmp_path / "page").as_posix(): path for path in (tmp_path / "page").rglob("*.*")}
    assert size == sum(path.stat().st_size for path in (tmp_path / "page").rglob("*") if path.is_file())
    page, headers = files["index.html"].read_text(), (tmp_path / "page/_headers").read_text()
    [policy] = re.findall(r'content="([^"]+)"', page)
    assert re.findall(r"'unsafe-[a-z-]+'|'[a-z-]+-unsafe-[a-z-]+'|\*|https?:", policy) == ["'wasm-unsafe-eval'"]
    assert re.findall(r"'nonce-([^']+)'", policy) == re.findall(r'nonce="([^"]+)"', page)
    assert f"{policy}; frame-ancestors 'none'" in headers
    facts = json.loads(files["model.json"].read_text())
    assert (tmp_path / "page" / facts["folder"] / "tail.onnx").read_bytes() == b"tail"
    assert facts["model"]["methods"] == [{"name": "occlusion", "title": "Occlusion", "trusted": False}]
    assert str(tmp_path) not in files["model.json"].read_text()


def test_a_page_takes_the_report_of_a_model_and_never_that_of_a_run(bundle, convolutional, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "describe_cohort", lambda model: {})
    (root := tmp_path / "root").mkdir()
    (root / "report.html").write_text("patients, of a run")
    for digest, taken in (("d", True), (None, False)):
        folder.write_page(replace(convolutional, root=root, digest=digest), page := tmp_path / f"page-{digest}")
        assert json.loads((page / "model.json").read_text())["model"]["has_report"] == taken
        assert (page / "report.html").is_file() == taken


def test_what_a_browser_keeps_is_every_file_by_its_digest(bundle, convolutional, tmp_path):
    page = tmp_path / "page"
    folder.write_page(convolutional, page)
    script = (page / "offline.js").read_text()
    kept = json.loads(re.search(r", (\{.*\})\]", script)[1])
    held = {path.relative_to(page).as_posix(): path.read_bytes() for path in page.rglob("*") if path.is_file()}
    held[""] = held.pop("index.html")
    assert {"_headers", "offline.js"} == held.keys() - kept.keys()
    for name, digest in kept.items():
        assert base64.b64decode(digest.removeprefix("sha256-")) == hashlib.sha256(held[name]).digest()
    folder.write_page(convolutional, page)  # with another nonce, so another page
    assert (page / "offline.js").read_text().split('"')[1] != script.split('"')[1]


def test_an_earlier_page_is_replaced_and_nothing_else(bundle, convolutional, tmp_path):
    page = tmp_path / "page"
    folder.write_page(convolutional, page)
    (bundle / "assets/page-1.js").rename(bundle / "assets/page-2.js")  # another version
    (page / "assets/own.js").write_text("kept")
    folder.write_page(convolutional, page)
    assert sorted(path.name for path in (page / "assets").iterdir()) == ["own.js", "page-2.js"]

    other = tmp_path / "other"  # another site, of the same layout
    (other / "assets/img").mkdir(parents=True)
    (other / "model.json").write_text('{"files": 1}')
    for name in ("index.html", "_headers", "assets/app.js"):
        (other / name).write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        folder.write_page(convolutional, other)
    assert (other / "index.html").read_text() == (other / "assets/app.js").read_text() == "mine"
    with pytest.raises(RunError, match="not a folder"):
        folder.write_page(convolutional, other / "index.html")


def test_a_model_too_large_is_refused_with_a_way_out(bundle, convolutional, attending, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MOST_BYTES", 1_000_000)
    with pytest.raises(ModelError, match="in half precision") as refused:
        folder.write_page(convolutional, tmp_path / "page")
    assert "smaller networks" in refused.value.way_out
    size = sum(weights.numel() for one in attending.models for weights in one.parameters())  # of one of two, in half
    monkeypatch.setattr(folder, "MOST_BYTES", size + 1000)
    with pytest.raises(ModelError) as refused:
        folder.write_page(attending, tmp_path / "page")
    assert "--as refit" in refused.value.way_out
    assert not (tmp_path / "page").exists()
    monkeypatch.setattr(folder, "MOST_BYTES", 1_000_000_000)
    folder.write_page(convolutional, tmp_path / "page")
    monkeypatch.setattr(folder, "MOST_BYTES", 1_000_000)
    before = sorted((tmp_path / "page").rglob("*"))
    with pytest.raises(ModelError):
        folder.write_page(convolutional, tmp_path / "page")
    assert sorted((tmp_path / "page").rglob("*")) == before


@pytest.mark.parametrize(("limit", "method"), [(1_000_000, "occlusion"), (2_000_000, "gradcam")])
def test_gradients_that_make_a_page_too_large_give_way_to_occlusion(
    bundle, convolutional, tmp_path, monkeypatch, limit, method
):
    parts = PageParts({"body-0-0": b"body"}, b"tail", {"body-0-0": [2, 1, 1]}, bytes(1_500_000))
    monkeypatch.setattr(folder, "split_model", lambda model: parts)
    monkeypatch.setattr(folder, "_refuse_large", lambda model: None)
    monkeypatch.setattr(folder, "MOST_BYTES", limit)
    folder.write_page(convolutional, tmp_path / "page")
    facts = json.loads((tmp_path / "page/model.json").read_text())
    assert facts["model"]["methods"][0]["name"] == method
    assert (tmp_path / "page" / facts["folder"] / "gradients.onnx").is_file() == (method == "gradcam")


def test_an_installation_without_the_page_says_how_to_get_it(bundle, convolutional, tmp_path):
    (bundle.parent / "index.html").unlink()
    with pytest.raises(RunError, match="npm") as refused:
        folder.write_page(convolutional, tmp_path / "out")
    assert "Install" in refused.value.way_out


@pytest.mark.parametrize("as_left_by", ["a version without offline.js", "a build that failed"])
def test_a_page_of_an_earlier_version_is_none(bundle, convolutional, tmp_path, as_left_by):
    if as_left_by == "a build that failed":
        (bundle.parent / "outdated").touch()
    else:
        (bundle / "offline.js").unlink()
    with pytest.raises(RunError, match="earlier version"):
        folder.write_page(convolutional, tmp_path / "out")


def test_the_command_says_how_to_try_the_page(bundle, convolutional, tmp_path, monkeypatch):
    monkeypatch.setattr("fusion_ln.frozen.load.load_model", lambda root: convolutional)
    (tmp_path / "model").mkdir()
    shown = fusionln("export", tmp_path / "model", "--page", tmp_path / "my page")
    assert f"http.server 8000 --bind 127.0.0.1 --directory '{tmp_path / 'my page'}'" in str(shown)
