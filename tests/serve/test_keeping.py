"""What a server keeps where `--keep` asks for it, and what it does where it cannot."""

import errno
import json

import pytest
from tiny import encode_noise

from fusion_ln.files.atomic import cannot_write

pytest.importorskip("django")


def test_what_is_sent_is_kept_where_the_keeper_asks_for_it(config, site, monkeypatch, tmp_path):
    monkeypatch.setattr(config, "options", config.options.model_copy(update={"keep": str(tmp_path)}))
    answer = site.post("/api/v1/predict", {"2d": encode_noise(3)}).json()
    [place] = tmp_path.iterdir()
    assert (place / "2d").read_bytes() == encode_noise(3)
    assert json.loads((place / "answer.json").read_text())["probabilities"] == answer["probabilities"]
    assert any("keeps what is sent" in each for each in answer["warnings"])
    [described] = site.get("/api/v1/models").json()
    assert described["keeps_uploads"]
    assert any("keeps what is sent" in each for each in described["warnings"])


def test_a_folder_of_kept_pictures_that_was_removed_is_made_again(config, site, monkeypatch, tmp_path):
    folder = tmp_path / "removed" / "kept"
    monkeypatch.setattr(config, "options", config.options.model_copy(update={"keep": str(folder)}))
    assert site.post("/api/v1/predict", {"2d": encode_noise(3)}).status_code == 200
    [place] = folder.iterdir()
    assert (place / "2d").read_bytes() == encode_noise(3)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("full", ["folder", "disk"])
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(config, site, monkeypatch, tmp_path, caplog, full):
    folder = tmp_path / "kept"
    monkeypatch.setattr(config, "options", config.options.model_copy(update={"keep": str(folder)}))
    if full == "folder":
        folder.touch()  # a file in its place
    else:
        monkeypatch.setattr("fusion_ln.serve.keeping.write_json", refuse_as_a_full_disk)
    refused = site.post("/api/v1/predict", {"2d": encode_noise(3)})
    assert (refused.status_code, refused["Content-Type"]) == (507, "application/problem+json")
    assert "could not keep" in refused.json()["detail"]
    assert "`--keep`" in refused.json()["way_out"]
    assert str(tmp_path) not in refused.content.decode()
    assert str(folder) in caplog.text
    assert not folder.is_dir() or not list(folder.iterdir())


def refuse_as_a_full_disk(path, value):
    raise cannot_write(path, OSError(errno.ENOSPC, ""))
