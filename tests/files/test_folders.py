"""New folders appear whole, or not at all."""

import os
from pathlib import Path

import pytest

from fusion_ln.errors import RunError
from fusion_ln.files.atomic import TEMPORARY
from fusion_ln.files.folders import new_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "a" / "out"
    with pytest.raises(ZeroDivisionError), new_folder(out) as made:
        (made / str(1 // len(list(out.parent.glob("out"))))).write_text("x")  # it is not there yet
    assert not any(out.parent.iterdir())
    out.mkdir()  # an empty one is taken
    with new_folder(out) as made:
        (made / "first").write_text("x")
    assert [path.name for path in out.parent.rglob("*")] == ["out", "first"]


def test_the_folder_of_the_command_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="not the name of a new folder"), new_folder(Path()):
        pytest.fail("it was taken")


def test_what_a_killed_command_left_is_removed_but_not_what_one_writes(tmp_path):
    dead = tmp_path / ".out.1.part"
    dead.mkdir()
    (dead / "half").write_text("x")
    with new_folder(tmp_path / "out") as made:
        assert not dead.exists()
        dead.mkdir()
        made.rename(alive := tmp_path / ".out.2.part")  # as if another process wrote there
        with new_folder(tmp_path / "out"):
            assert alive.is_dir()
            assert not dead.exists()
        alive.rename(made)
        (tmp_path / "out").rmdir()
    assert (tmp_path / "out").is_dir()


def test_a_folder_that_is_swept_before_its_writer_holds_it_is_made_anew(tmp_path, monkeypatch):
    opened, really_open = [], os.open

    def be_swept_and_open(path, *arguments, **named):
        if str(path).endswith(TEMPORARY):
            opened.append(path)
            if len(opened) == 1:
                Path(path).rmdir()
        return really_open(path, *arguments, **named)

    monkeypatch.setattr(os, "open", be_swept_and_open)
    with new_folder(tmp_path / "out") as made:
        (made / "file").write_text("x")
    assert (tmp_path / "out" / "file").is_file()
    assert len(opened) == 2


def test_places_that_cannot_be_taken_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for name, problem in (("file", "is a file"), ("file/below", "cannot be written")):
        with pytest.raises(RunError, match=problem), new_folder(tmp_path / name):
            pytest.fail("it begins")


def test_a_folder_of_the_same_files_stays_and_another_is_refused(tmp_path):
    def fill(**files):
        with new_folder(tmp_path / "out") as made:
            (made / "below").mkdir()
            for name, text in files.items():
                (made / "below" / name).write_text(text)

    fill(letter="dear", note="x")
    before = (tmp_path / "out").stat().st_ino
    fill(letter="dear", note="x")
    assert (tmp_path / "out").stat().st_ino == before
    for others in ({"letter": "dear"}, {"letter": "dear", "note": "y"}, {"letter": "dear", "note": "x", "more": "x"}):
        with pytest.raises(RunError, match="holds other files"):
            fill(**others)
    assert (tmp_path / "out" / "below" / "note").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
