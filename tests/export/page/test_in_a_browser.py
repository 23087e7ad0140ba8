"""A page from a plain web space, in a browser whose network is cut once the page is there."""

import io
import json
import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import CHROMIUM

pytest.importorskip("playwright.sync_api")

from fusion_ln.decode.picture import read_picture
from fusion_ln.explain.frozen import FrozenExplainer
from fusion_ln.export.page.folder import BUNDLE, write_page
from fusion_ln.frozen.answer import answer
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.report.explanation.overlays import on_one_scale

AS_PNG, AS_JPEG = 1e-3, 1e-2  # of a probability
LACKS = {(1, "cdfi"), (2, "2d"), (2, "elastic")}  # patient and modality
OWN = ("http://127.0.0.1", "blob:", "data:")  # addresses that a page may ask
SIZES = [(64, 64), (90, 120), (150, 61), (33, 200)]  # of the pictures, height and width
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM} is not there"),
    pytest.mark.skipif(not (BUNDLE / "index.html").is_file(), reason="the page was not built with the package"),
]


@contextmanager
def web_space(root):
    """Serve a folder as any web space would; yields its address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = re.search(r"port (\d+)", process.stdout.readline())[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Serve the page of a model; returns a function from models to addresses."""
    root = tmp_path_factory.mktemp("space")
    with web_space(root) as address:

        def put(name, model):
            if not (root / name).exists():
                write_page(model, root / name)
            return f"{address}{name}/"

        yield put


class Visit:
    """A page that was fetched, its network cut since, and what went wrong in it."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(**options)
        self.page = page = self.context.new_page()
        self.complaints = complaints = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(f"{message.text} {message.location}"))
        page.on("request", lambda each: complaints.append(each.url) if not each.url.startswith(OWN) else None)
        page.goto(address)
        page.locator(".example img").last.wait_for()
        page.locator(".fetched[data-ready]").wait_for()
        page.locator(".fetched[data-kept]").wait_for()
        self.context.set_offline(True)


@pytest.fixture(scope="module")
def visits(browser, host):
    """Visit the page of each model once."""
    opened = {}

    def visit(name, model, **options):
        if name not in opened:
            opened[name] = Visit(browser, host(name, model), **options)
        return opened[name]

    yield visit
    for each in opened.values():
        each.context.close()


DESK = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def english(visits, convolutional):
    """The page of the first model on a desk; nothing may fail in it, or break its policy."""
    visit = visits("convolutional", convolutional, **DESK)
    yield visit.page
    assert visit.complaints == []


@pytest.fixture
def chinese(visits, attending):
    """The page of the other model on a phone in the dark, likewise."""
    phone = {"width": 360, "height": 740}
    visit = visits("attending", attending, locale="zh-CN", viewport=phone, color_scheme="dark")
    yield visit.page
    assert visit.complaints == []


def encode(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def draw(model, seed, kind, *, lacks=()):
    """Draw the pictures of four patients, smooth enough for JPEG to keep them: bytes by name of the file."""
    rng, files = np.random.default_rng(seed), {}
    for number, size in enumerate(SIZES):
        for modality in model.modalities:
            if (number, modality) not in lacks:
                coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
                pixels = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))
                files[f"P{number}_{modality}.{kind.lower()}"] = encode(pixels, kind)
    return files


def expect(model, files, folder):
    """Let the model itself answer, from the files as `predict` reads them."""
    owners: dict[str, list] = {m: [] for m in model.modalities}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        patient, modality = name.rpartition(".")[0].split("_")
        pixels = prepare_picture(read_picture(folder / name), model.record.modalities[modality])
        owners[modality].append((patient, pixels))
    banks = {
        m: ImageBank(
            np.stack([p for _, p in held]), np.array([n for n, _ in held]), np.zeros(len(held), dtype=np.int64)
        )
        for m, held in owners.items()
    }
    pictures = gather_pictures(banks)
    return answer(model, pictures, pd.DataFrame({"patient_id": pictures.patients}))


def ask_batch(page, files, target, *, batch="Batch", start="Ask about all", save="Save JSON"):
    """Have a batch answered, and read what the page saves."""
    page.get_by_role("link", name=batch, exact=True).click()
    kinds = {"png": "image/png", "jpeg": "image/jpeg"}
    given = [{"name": n, "mimeType": kinds[n.rpartition(".")[2]], "buffer": data} for n, data in files.items()]
    page.locator(".drop-buttons input").last.set_input_files(given)
    page.get_by_role("button", name=start).click()
    page.locator(".state-done").nth(len(SIZES) - 1).wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name=save).click()
    saved.value.save_as(target)
    return sorted(json.loads(target.read_text()), key=lambda each: each["patient_id"])


def check_answers(model, found, expected, within):
    assert np.ptp(expected.probs, axis=0).max() > 0.05  # the answers differ, so equal ones mean something
    assert [each["patient_id"] for each in found] == expected.patients.tolist()
    for row, each in enumerate(found):
        present = expected.present[row]
        assert list(each["probabilities"].values()) == pytest.approx(expected.probs[row], abs=within)
        assert list(each["contributions"].values()) == pytest.approx(expected.contributions[row][present], abs=within)
        alone = np.array([list(of.values()) for of in each["alone"].values()])
        np.testing.assert_allclose(alone, expected.alone[row][present], atol=within)
        if within == AS_PNG:
            assert each["set"] == np.array(model.record.classes)[expected.member[row]].tolist()
            assert each["unlike"] == bool(expected.unlike[row])


@pytest.mark.parametrize(("kind", "within"), [("PNG", AS_PNG), ("JPEG", AS_JPEG)])
def test_answers_without_network_are_those_of_predict(english, convolutional, tmp_path, kind, within):
    files = draw(convolutional, 1, kind, lacks=LACKS)
    found = ask_batch(english, files, tmp_path / "answers.json")
    check_answers(convolutional, found, expect(convolutional, files, tmp_path), within)


PIXELS = """async picture => {
  await picture.decode();
  const pen = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight).getContext('2d');
  pen.drawImage(picture, 0, 0);
  return [...pen.getImageData(0, 0, picture.naturalWidth, picture.naturalHeight).data];
}"""


@pytest.mark.parametrize("name", ["convolutional", "efficient"])
def test_maps_are_grad_cam_over_the_picture_that_the_network_saw(visits, request, tmp_path, name):
    """Also where a convolution and an MLP head follow the last stage."""
    model, side = request.getfixturevalue(name), 64
    visit = visits(name, model, **DESK)
    page = visit.page
    page.get_by_role("link", name="Patient", exact=True).click()
    files = {n: data for n, data in draw(model, 2, "PNG").items() if n.startswith("P3")}
    page.locator(".drop-head input").set_input_files(
        [{"name": n, "mimeType": "image/png", "buffer": data} for n, data in files.items()]
    )
    page.locator(".slot-facts select, .unplaced select").nth(2).wait_for()
    for file in files:
        page.get_by_label(f"Modality of {file}").select_option(file[3:-4])
    page.get_by_role("button", name="Get the answer").click()
    page.locator(".figure .map").nth(2).wait_for()
    assert "Grad-CAM" in page.locator(".maps-controls").inner_text()

    answers, banks = expect(model, files, tmp_path), {}
    for modality in model.modalities:
        pixels = prepare_picture(read_picture(tmp_path / f"P3_{modality}.png"), side)
        banks[modality] = ImageBank(pixels[None], np.array(["P3"]), np.zeros(1, dtype=np.int64))
    patients = pd.DataFrame({"patient_id": ["P3"]})
    steps = FrozenExplainer.of(model).maps(
        gather_pictures(banks), patients, int(answers.probs[0].argmax()), ["gradcam"]
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            heat, scale = on_one_scale(end.value)
            break
    for place, modality in enumerate(model.modalities):
        figure = page.locator(".figure").nth(place)
        seen = np.array(figure.locator("img").first.evaluate(PIXELS)).reshape(side, side, 4)[..., :3]
        assert (seen == banks[modality].pixels[0].transpose(1, 2, 0)).all()  # Pillow's own, to the last bit
        alpha = np.array(figure.locator(".map").evaluate(PIXELS)).reshape(side, side, 4)[..., 3] / 255
        expected = np.clip(heat[modality]["gradcam"] / scale["gradcam"], 0, 1)
        np.testing.assert_allclose(alpha**2, expected, atol=0.02)
    assert expected.max() > 0.5
    assert visit.complaints == []


def test_several_models_with_a_head_answer_in_chinese_on_a_phone(chinese, attending, tmp_path):
    """Maps of transformers are of occlusion, and the page says so."""
    page = chinese
    page.locator(".drop-head input").set_input_files(
        [{"name": "a.dcm", "mimeType": "application/dicom", "buffer": bytes(128) + b"DICM"}]
    )
    assert "浏览器无法读取 DICOM" in page.locator(".unplaced").get_by_role("alert").inner_text()
    page.get_by_role("button", name="重新开始").click()
    page.locator(".example").first.click()
    page.locator("img.slot-view").nth(2).wait_for()
    page.get_by_role("button", name="获取结果").click()
    page.locator(".figure .map").first.wait_for()
    assert "Occlusion" in page.locator(".maps-controls").inner_text()
    assert "图像只留在本浏览器中" in page.locator("main").inner_text()
    assert "不检查图像是否曾用于训练" in page.locator(".verdict").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"
    for name in ("模型", "队列"):
        page.get_by_role("link", name=name, exact=True).click()
        page.locator("main h2").first.wait_for()
    assert page.get_by_role("link", name="OpenAPI").count() == 0
    files = draw(attending, 1, "PNG", lacks=LACKS)
    found = ask_batch(page, files, tmp_path / "answers.json", batch="批量", start="开始预测", save="保存 JSON")
    check_answers(attending, found, expect(attending, files, tmp_path), AS_PNG)


def test_what_a_browser_cannot_read_is_refused_with_a_way_out(english):
    page = english
    page.get_by_role("link", name="Patient", exact=True).click()
    if page.locator(".slot-view").count():
        page.get_by_role("button", name="Start again").click()
    deep = io.BytesIO()
    Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(deep, "PNG")
    given = {
        "a.dcm": bytes(128) + b"DICM" + bytes(100),
        "b.tif": encode(np.zeros((32, 32, 3), np.uint8), "TIFF"),
        "c.png": deep.getvalue(),
        "d.png": encode(np.zeros((32, 32, 3), np.uint8), "PNG")[:60],
        "e.png": encode(np.zeros((8, 8, 3), np.uint8), "PNG"),
        "f.png": b"",
    }
    page.locator(".drop-head input").set_input_files(
        [{"name": n, "mimeType": "application/octet-stream", "buffer": data} for n, data in given.items()]
    )
    page.get_by_role("alert").nth(len(given) - 1).wait_for()
    texts = page.locator(".unplaced li").all_inner_texts()
    for text, reason in zip(texts, ("DICOM", "TIFF", "16 > 8", "damaged", "8 x 8", "0 bytes"), strict=True):
        assert reason in text
        assert re.search(r"8-bit PNG|Fetch", text)
    assert page.get_by_role("button", name="Get the answer").is_disabled()


def test_a_page_that_was_kept_opens_when_its_web_space_is_gone(browser, convolutional, attending, tmp_path):
    """A new export replaces what was kept of the last one."""
    folder = tmp_path / "page"
    with web_space(tmp_path) as address:
        write_page(convolutional, folder)
        visit = Visit(browser, f"{address}page/", locale="en-GB")
        visit.context.set_offline(False)
        write_page(attending, folder)
        visit.page.reload()
        visit.page.locator(".fetched[data-kept]").wait_for()
    assert visit.complaints == []
    visit.page.reload()
    visit.page.locator(".fetched[data-kept]").wait_for()
    files = draw(attending, 3, "PNG")
    found = ask_batch(visit.page, files, tmp_path / "answers.json")
    check_answers(attending, found, expect(attending, files, tmp_path), AS_PNG)
    visit.context.close()
