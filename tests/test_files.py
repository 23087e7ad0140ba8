"""Files: quoted names, CSV that no spreadsheet runs, writers whose every failure is one message, and locks."""

import csv
import errno
import io
import math
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import fusion_ln
from fusion_ln.errors import CohortError, RunError, printable
from fusion_ln.files.atomic import TEMPORARY, cannot_write, write_atomically, write_bytes
from fusion_ln.files.formats import csv_text, write_arrays, write_json, write_parquet, write_rows, write_text
from fusion_ln.files.locks import locked
from fusion_ln.files.names import as_file_name
from fusion_ln.terms import cache_folder

CLOSE = st.text(alphabet="ab/_ .:~-+%é2F\x00\udce9", max_size=6)  # texts that a lossy rule maps onto each other


@given(st.lists(st.one_of(CLOSE, st.text(max_size=300)), unique=True, min_size=2, max_size=40))
@example(["a/b", "a_b", "a b", "a~2Fb", "a%2Fb", "a:b"])
@example(["", "~", ".", "..", "~2E"])
@example(["x" * 181, "x" * 182, as_file_name("x" * 181)])
@example(["é" * 200, "é" * 201])
def test_no_two_texts_share_a_file_name(texts):
    assert len({as_file_name(text) for text in texts}) == len(texts)


@given(st.one_of(CLOSE, st.text(max_size=300)))
def test_a_file_name_is_one_that_every_file_system_takes(text):
    name = as_file_name(text)
    assert 0 < len(name.encode()) <= 180
    assert not set(name) & set("/\\\0 %?#:")
    assert not name.startswith(".")


def test_harmless_names_stay_as_they_are():
    for name in ("benign", "roc-lymphoma", "P0001", "2d+cdfi", "图像_1.5", "seed-0"):
        assert as_file_name(name) == name


def test_what_is_quoted_can_be_read():
    assert as_file_name("EF below 40") == "EF~20below~2040"
    assert as_file_name("1/171") == "1~2F171"


RUN = ["=1+1", "+1;cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", " \r1=", "＝1"]
HARMLESS = ["=", "-1.5", "+3", "-1e-3", "-", "benign", "2d+cdfi", "", "a\r=1"]


@given(
    st.lists(st.one_of(st.sampled_from(RUN + HARMLESS), st.text("=+-@\t\r 1a,", max_size=4)), min_size=1, max_size=6)
)
@example(RUN + HARMLESS)
def test_no_cell_of_a_csv_for_people_begins_a_formula_and_the_others_stay(cells):
    table = pd.DataFrame({"=name": pd.Series(cells, dtype=object), "auc": [-0.5] * len(cells)})
    header, *rows = csv.reader(io.StringIO(csv_text(table), newline=""))
    assert header == ["'=name", "auc"]
    assert [row[1] for row in rows] == ["-0.5"] * len(cells)
    for cell, (written, _) in zip(cells, rows, strict=True):
        assert written in (plain := cell.replace("\r", "\n"), f"'{plain}")
        assert (written != plain) == (cell in RUN) or cell not in RUN + HARMLESS
        if len(written.strip()) > 1 and not is_number(written):
            assert written.lstrip(" ")[:1] not in tuple("=+-@＝\t\n")


def is_number(text):
    with suppress(ValueError):
        return math.isfinite(float(text.replace(",", ".")))
    return False


def test_categories_and_repeated_names_are_written_too():
    table = pd.DataFrame([["=1", 2]], columns=["a", "b"]).astype({"a": "category"})
    assert csv_text(table) == "a,b\n'=1,2\n"


def test_every_csv_for_people_goes_through_the_one_writer():
    package = Path(fusion_ln.__file__).parent
    found = {path.name for path in package.rglob("*.py") if ".to_csv(" in path.read_text()}
    assert found == {"formats.py", "hashes.py"}  # a hash is no file


@contextmanager
def small_disk(size=2**18):
    """No file may grow larger than this many bytes: the kernel refuses it in the midst of a write, as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NOISE = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
WRITERS = {  # every library that writes for us, and a mebibyte for each
    "text": lambda path: write_text(path, "x" * 2**20),
    "bytes": lambda path: write_bytes(path, NOISE.tobytes()),
    "parquet": lambda path: write_parquet(path, pd.DataFrame({"noise": np.random.default_rng(0).random(2**17)})),
    "arrays": lambda path: write_arrays(path, {"noise": NOISE}),
    "rows": lambda path: write_rows(path, NOISE, NOISE.shape, NOISE.dtype),
    "array file": lambda path: write_atomically(path, NOISE.tofile),
    "torch": lambda path: write_atomically(path, partial(torch.save, {"noise": torch.from_numpy(NOISE)})),
    "safetensors": lambda path: write_atomically(path, partial(save_file, {"noise": torch.from_numpy(NOISE)})),
    "picture": lambda path: write_atomically(path, partial(Image.fromarray(NOISE).save, format="png")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fills_up_is_one_message_whichever_library_writes(tmp_path, name):
    with small_disk(), pytest.raises(RunError, match=r"file: cannot be written \(File too large\)"):
        WRITERS[name](tmp_path / "file")
    assert name == "bytes" or not list(tmp_path.iterdir())
    WRITERS[name](tmp_path / "file")
    assert (tmp_path / "file").stat().st_size > 2**18


def test_no_row_is_computed_for_a_disk_without_room(tmp_path):
    def rows():
        raise AssertionError("computed for nothing")
        yield

    with small_disk(), pytest.raises(RunError, match="cannot be written"):
        write_rows(tmp_path / "file.npy", rows(), NOISE.shape, NOISE.dtype)


def test_rows_become_the_file_that_numpy_writes(tmp_path):
    write_rows(tmp_path / "ours.npy", iter(NOISE), NOISE.shape, NOISE.dtype)
    np.save(tmp_path / "numpys.npy", NOISE)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("error", [ValueError("a bug"), CohortError("a user's mistake")])
def test_an_error_that_the_disk_did_not_make_stays_what_it_is(tmp_path, error):
    def fail(_):
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(tmp_path / "file", fail)
    assert caught.value is error


def test_the_way_out_of_a_cache_without_room_is_the_cache():
    for code in (errno.ENOSPC, errno.EROFS):
        error = OSError(code, os.strerror(code))
        assert "FUSIONLN_CACHE" in str(cannot_write(cache_folder() / "banks" / "a.npy", error))
        assert "FUSIONLN_CACHE" not in str(cannot_write(cache_folder().parent / "run", error))


def test_the_way_out_of_a_cohort_that_cannot_be_written_names_no_option(tmp_path):
    (tmp_path / "cohort.toml").touch()
    assert "cp -r" in str(error := cannot_write(tmp_path / "check.csv", OSError(errno.EROFS, "")))
    assert "--out" not in str(error)


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


def test_a_name_that_is_no_text_is_refused_where_it_would_be_written(tmp_path):
    """Python holds the byte E9 of such a name as a surrogate, which is no UTF-8."""
    with pytest.raises(RunError, match=r"would hold the name /data/caf\\xe9, which is not UTF-8") as caught:
        write_json(tmp_path / "a.json", {"first": "text", "root": "/data/caf\udce9"})
    assert "convmv" in caught.value.way_out
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_whatever_a_name_holds_it_can_be_printed(text):
    printable(text).encode()
    assert printable("café\udce9") == "café\\xe9"
