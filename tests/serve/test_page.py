"""The page as its users meet it: in a browser, from a picture to its answer, maps and PDF."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from tiny import CHROMIUM

pytest.importorskip("django")
pytest.importorskip("playwright.sync_api")

from fusion_ln.export.page.bundle import INDEX, STATIC

AXE = Path(__file__).parents[2] / "fusion_ln/serve/web/node_modules/axe-core/axe.min.js"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM} is not there"),
    pytest.mark.skipif(not (STATIC / INDEX).is_file(), reason="the page was not built with the package"),
]


def grey(seed=1):
    pixels = np.random.default_rng(seed).integers(40, 120, (48, 64), dtype=np.uint8)
    return _png(np.repeat(pixels[..., None], 3, axis=2))


def coloured():
    pixels = np.array(Image.open(io.BytesIO(grey(2))))
    pixels[20:28, 24:36] = (220, 40, 20)  # a vessel
    return _png(pixels)


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def given(**pictures):
    return [{"name": f"{name}.png", "mimeType": "image/png", "buffer": data} for name, data in pictures.items()]


def answer_with(reply):
    def answer(route):
        route.fulfill(**reply)

    return answer


@pytest.fixture
def opened(browser, server):
    """Open the page; at the end of the test nothing may have failed in it or broken its policy."""
    contexts, complaints = [], []

    def open_page(path="", *, replies=None, ready="h1", **options):
        context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        for resource, reply in (replies or {}).items():
            page.route(f"**/api/v1/{resource}", answer_with(reply))
        page.goto(f"{server[0]}/{path}")
        page.locator(ready).first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def check_with_axe(page):
    """Look for what keeps people from reading or using the page, by the rules of axe."""
    if not AXE.is_file():
        pytest.skip("axe-core is not there: `npm ci` in fusion_ln/serve/web")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations.map(v => v.id + ': ' + v.nodes[0].html)")
    assert found == []
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"


def give_both(page):
    page.locator(".drop-head input").set_input_files(given(a=grey(), b=coloured()))
    page.locator("img.slot-view").nth(1).wait_for()


def test_from_a_drop_to_the_maps_and_a_pdf(opened, tmp_path):
    """Both pictures at once are put where their colours suggest, and every part of the answer appears."""
    page = opened()
    assert page.get_by_role("button", name="Get the answer").is_disabled()
    files = [list(file["buffer"]) for file in given(a=grey(), b=coloured())]
    page.locator(".drop").evaluate(
        """(place, files) => {
          const dataTransfer = new DataTransfer();
          files.forEach((bytes, n) => dataTransfer.items.add(new File([new Uint8Array(bytes)], `${n}.png`)));
          for (const kind of ['dragover', 'drop'])
            place.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
        }""",
        files,
    )
    slots = page.locator(".slot")
    slots.nth(1).locator("img").wait_for()
    assert "0.png" in slots.nth(0).inner_text()
    assert "1.png" in slots.nth(1).inner_text()

    slots.nth(0).get_by_label("Modality of 0.png").select_option("cdfi")  # by hand: they change places
    assert "1.png" in slots.nth(0).inner_text()
    slots.nth(0).get_by_label("Modality of 1.png").select_option("cdfi")

    with page.expect_response("**/predict") as answered:
        page.get_by_role("button", name="Get the answer").click()
    answer = answered.value.json()
    page.locator(".figure .map").first.wait_for()
    shares = [int(re.sub(r"\D", "", text)) for text in page.locator(".verdict .bar-value").all_inner_texts()]
    assert shares == pytest.approx([100 * share for share in answer["probabilities"].values()], abs=1)
    assert page.locator(".verdict .tag").count() == len(answer["set"])
    assert page.locator(".adds li").count() == 2
    assert "no medical device" in page.locator(".device").inner_text()
    check_with_axe(page)

    slider = page.get_by_role("slider", name="Opacity of the map")
    slider.focus()
    before = page.locator(".figure .map").first.evaluate("map => Number(map.style.opacity)")
    slider.press("ArrowLeft")
    assert page.locator(".figure .map").first.evaluate("map => Number(map.style.opacity)") < before
    page.get_by_text("Side by side").click()
    assert page.locator(".figure figure").count() == 4

    page.evaluate("window.print = () => document.body.setAttribute('data-printed', '')")
    page.get_by_role("button", name="Print or save as PDF").click()
    assert page.locator("[data-printed]").count() == 1
    assert page.pdf(print_background=True).startswith(b"%PDF")
    page.emulate_media(media="print")
    assert re.search(r"Answered on .*20\d\d.*, from .*\.png", page.locator(".save .on-paper").inner_text())
    page.emulate_media(media="screen")
    for kind in ("JSON", "CSV"):
        with page.expect_download() as saved:
            page.get_by_role("button", name=kind, exact=True).click()
        saved.value.save_as(tmp_path / kind)
    assert json.loads((tmp_path / "JSON").read_text()) == answer
    assert str(answer["probabilities"][answer["set"][0]] if answer["set"] else "") in (tmp_path / "CSV").read_text()


def test_an_example_by_keyboard_alone(opened):
    page = opened(ready=".example")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('example')"):
            break
    page.keyboard.press("Enter")
    page.locator("img.slot-view").nth(1).wait_for()
    for _ in range(30):
        if page.evaluate("document.activeElement.textContent") == "Get the answer":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".verdict-text").wait_for()


def test_chinese_on_a_phone_in_the_dark_is_remembered(opened):
    page = opened(viewport={"width": 360, "height": 740}, color_scheme="dark", ready=".example")
    page.get_by_label("Language").select_option("zh")
    page.reload()
    page.locator(".drop-head input").set_input_files(
        [{"name": "a.png", "mimeType": "image/png", "buffer": grey()[:300]}]
    )
    refused = page.get_by_role("alert")
    refused.wait_for()
    assert "文件不完整或已损坏" in refused.inner_text()
    assert "truncated" in refused.locator("[lang=en]").inner_text()
    page.get_by_role("button", name="重新开始").click()
    page.locator(".example").first.click()
    page.locator("img.slot-view").nth(1).wait_for()
    page.get_by_role("button", name="获取结果").click()
    page.locator(".figure .map").first.wait_for()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert "不是医疗器械" in page.locator(".device").inner_text()
    assert not re.search(r"remains? possible|What each|Opacity", page.locator("main").inner_text())
    check_with_axe(page)


def problem(status, detail, **headers):
    body = {"title": "Refused", "status": status, "detail": detail, "way_out": "Take this way out."}
    return {"status": status, "json": body, "headers": headers}


def test_a_refusal_shows_its_way_out_and_can_be_tried_again(opened):
    page = opened(replies={"predict": problem(422, "a: truncated.")})
    give_both(page)
    page.get_by_role("button", name="Get the answer").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "a: truncated." in alert.inner_text()
    assert "Take this way out." in alert.inner_text()
    check_with_axe(page)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    page.locator(".verdict-text").wait_for()


def test_a_busy_server_is_waited_for_and_can_be_left(opened):
    page = opened(replies={"predict": problem(503, "Every place is taken.", **{"Retry-After": "50"})})
    give_both(page)
    page.get_by_role("button", name="Get the answer").click()
    page.get_by_text("asked again in 50 s").wait_for()
    check_with_axe(page)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("The answer appears here").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_doubtful_answer_is_said_in_words(opened, server, scheme):
    [model] = requests.get(f"{server[0]}/api/v1/models", timeout=30).json()
    classes = model["classes"]
    answer = {
        "probabilities": dict(zip(classes, (0.48, 0.52), strict=False)) | dict.fromkeys(classes[2:], 0.0),
        "set": classes[:2],
        "contributions": {"2d": 0.1, "cdfi": -0.05},
        "alone": {},
        "modalities": ["2d", "cdfi"],
        "kind": "calibrated",
        "unlike": True,
        "model": {"title": "Mean", "digest": None},
        "engine": {"name": "torch", "version": "2"},
        "warnings": ["2d: text stands in the picture."],
        "warning_codes": ["text-in-picture"],
    }
    page = opened(replies={"predict": {"json": answer}}, color_scheme=scheme)
    give_both(page)
    page.get_by_role("button", name="Get the answer").click()
    page.locator(".verdict-text").wait_for()
    assert "remain" in page.locator(".verdict-text").inner_text()
    assert "Outside what the model knows" in page.get_by_role("alert").inner_text()
    assert "text stands in the picture" in page.locator(".verdict").inner_text()
    check_with_axe(page)


def test_a_batch_names_every_file_and_saves_a_table(opened, tmp_path):
    page = opened("#/batch")
    table = b"patient_id,2d,cdfi\nP1,a.png,b.png\nP2,,b2.png\nP3,gone.png,\n"
    files = given(a=grey(), b=coloured(), b2=coloured(), more=grey(3))
    page.locator(".drop-buttons input").last.set_input_files(
        [{"name": "t.csv", "mimeType": "text/csv", "buffer": table}, *files]
    )
    page.get_by_text("2 patients with 3 pictures").wait_for()
    assert "gone.png" in page.locator(".unused").inner_text()
    assert "more.png" in page.locator(".unused").inner_text()
    page.get_by_role("button", name="Ask about all").click()
    page.get_by_text("2 of 2 patients").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save CSV").click()
    saved.value.save_as(tmp_path / "answers.csv")
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0].startswith("patient_id,predicted,prob_")
    assert [line.split(",")[0] for line in lines[1:]] == ["P1", "P2"]
    check_with_axe(page)


def give_batch(page, **pictures):
    page.locator(".drop-buttons input").last.set_input_files(given(**pictures))


def test_a_batch_is_kept_on_other_pages_and_asked_about_again(opened):
    page = opened("#/batch", replies={"predict": problem(422, "a: truncated.")})
    give_batch(page, P1_2d=grey(), P2_cdfi=coloured())
    page.get_by_role("button", name="Ask about all").click()
    page.get_by_role("button", name="Ask about the rest").wait_for()
    page.get_by_role("link", name="Model", exact=True).click()
    page.get_by_role("heading", name="The model").wait_for()
    page.get_by_role("link", name="Batch", exact=True).click()
    assert page.locator(".state-failed").count() == 2
    page.unroute_all()
    page.get_by_role("button", name="Ask about the rest").click()
    page.locator(".state-done").nth(1).wait_for()
    assert page.get_by_role("button", name="Ask about the rest").count() == 0


def test_a_drop_ends_the_batch_that_runs(opened):
    page = opened("#/batch", replies={"predict": problem(503, "Every place is taken.", **{"Retry-After": "50"})})
    give_batch(page, P1_2d=grey(), P2_2d=grey(2))
    page.get_by_role("button", name="Ask about all").click()
    page.get_by_text("asked again in 50 s").wait_for()
    drop = """(place, [text, name]) => {
      const dataTransfer = new DataTransfer();
      if (name) dataTransfer.items.add(new File([new Uint8Array(4)], name));
      else dataTransfer.setData('text/plain', text);
      place.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer }));
    }"""
    page.locator(".drop").evaluate(drop, ["text", ""])  # no file: nothing changes
    assert page.get_by_role("button", name="Cancel").count() == 1
    page.locator(".drop").evaluate(drop, ["", "P3_cdfi.png"])
    page.get_by_text("1 patient with 1 picture").wait_for()
    page.wait_for_timeout(200)
    assert page.locator("tbody tr").all_inner_texts()[0].split()[0] == "P3"
    assert page.locator(".state-waiting").count() == 1
    assert page.get_by_role("button", name="Ask about all").is_enabled()


def test_a_table_without_patients_says_so(opened):
    page = opened("#/batch")
    table = {"name": "t.csv", "mimeType": "text/csv", "buffer": b"patient_id,2d\n"}
    page.locator(".drop-buttons input").last.set_input_files([table])
    assert "No patient was found" in page.get_by_role("alert").inner_text()
    check_with_axe(page)


def test_a_token_that_ends_is_asked_for_again_and_loses_no_batch(opened):
    page = opened("#/batch", replies={"predict": problem(401, "No token.")})
    give_batch(page, P1_2d=grey(), P2_2d=grey(2))
    page.get_by_role("button", name="Ask about all").click()
    page.get_by_label("Token").fill("again")
    check_with_axe(page)
    page.unroute_all()
    page.route(
        "**/session", lambda route: route.fulfill(status=204) if route.request.method == "POST" else route.continue_()
    )
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Ask about the rest").click()
    page.locator(".state-done").nth(1).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read(opened, scheme):
    page = opened(color_scheme=scheme, ready=".example")
    check_with_axe(page)
    for name in ("Batch", "Model", "Cohort"):
        page.get_by_role("link", name=name, exact=True).click()
        page.locator("main h2, main .drop").first.wait_for()
        assert page.title().endswith("fusion_ln")
        check_with_axe(page)
    assert page.get_by_role("link", name=re.compile("CV4LymphNode")).count() == 1
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("source")).click()
    assert zipfile.is_zipfile(download.value.path())


def test_a_token_is_asked_for_and_a_wrong_one_refused(opened):
    replies = {"session": {"json": {"needed": True, "open": False}}}
    page = opened(replies=replies)
    check_with_axe(page)
    page.unroute_all()
    page.route("**/session", answer_with(problem(401, "Not this server's token.")))
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    check_with_axe(page)
    page.unroute_all()
    page.get_by_role("button", name="Open").click()
    page.locator(".slot").first.wait_for()
