"""Locks: one command at a time writes to a folder, and a dead one blocks nobody."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fusion_ln.files.atomic import TEMPORARY, write_atomically
from fusion_ln.files.formats import write_text
from fusion_ln.files.locks import locked

HOLD = """
import sys
from pathlib import Path
from fusion_ln.files.atomic import write_atomically
from fusion_ln.files.locks import locked
def hang(temporary):
    temporary.write_text("half")
    print(flush=True)
    sys.stdin.read()
with locked(Path(sys.argv[1]) / ".lock"):
    write_atomically(Path(sys.argv[1]) / "file", hang)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder and is amid a write."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_second_process_says_for_whom_it_waits(tmp_path, holder, monkeypatch, capsys):
    monkeypatch.setattr(
        "fusion_ln.files.locks.say", lambda text: (print(text), holder.stdin.close())
    )  # lets go when told
    with locked(tmp_path / ".lock"):
        assert (tmp_path / "file").read_text() == "half"
    assert f"{tmp_path}: process {holder.pid} on " in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_killed_process_blocks_nobody_and_its_half_file_goes(tmp_path, holder, capsys):
    assert len(list(tmp_path.glob(f"*{TEMPORARY}"))) == 1
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / ".lock"):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert "waiting" not in capsys.readouterr().err


def test_a_process_does_not_wait_for_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path / ".lock"), locked(Path(".lock"), tmp_path / "inner" / ".lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_file_of_a_living_writer_is_nobodys_leftover(tmp_path):
    def while_others_work(temporary):
        temporary.write_text("whole")
        with locked(tmp_path / ".lock"):
            pass

    write_atomically(tmp_path / "file", while_others_work)
    assert (tmp_path / "file").read_text() == "whole"


def test_a_file_that_is_swept_before_its_writer_holds_it_is_made_anew(tmp_path, monkeypatch):
    made, make = [], tempfile.mkstemp

    def make_and_be_swept(**arguments):
        made.append(make(**arguments))
        if len(made) == 1:
            with locked(tmp_path / ".lock"):
                assert not list(tmp_path.glob(f"*{TEMPORARY}"))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkstemp", make_and_be_swept)
    write_text(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert len(made) == 2


def test_a_lock_leaves_no_folder_behind_and_needs_no_writable_folder(tmp_path, monkeypatch):
    with locked(tmp_path / "a" / "b" / ".lock", tmp_path / "a" / ".lock"):
        assert (tmp_path / "a" / "b" / ".lock").is_file()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with locked(tmp_path / "file" / ".lock"):
        pass


def test_storage_without_locks_is_said_and_used(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fusion_ln.files.locks.fcntl.flock", refuse)
    with locked(tmp_path / ".lock"):
        write_text(tmp_path / "file", "x")
    assert "knows no locks" in capsys.readouterr().err
