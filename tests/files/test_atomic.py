"""Atomic writes: an error of the disk is one message, and no part of a file is left."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fusion_ln.errors import CohortError, RunError
from fusion_ln.files.atomic import cannot_write, write_atomically, write_bytes
from fusion_ln.files.formats import write_arrays, write_json, write_parquet, write_rows, write_text
from fusion_ln.terms import cache_folder


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


def test_a_name_that_is_no_text_is_refused_where_it_would_be_written(tmp_path):
    """Python holds the byte E9 of such a name as a surrogate, which is no UTF-8."""
    with pytest.raises(RunError, match=r"would hold the name /data/caf\\xe9, which is not UTF-8") as caught:
        write_json(tmp_path / "a.json", {"first": "text", "root": "/data/caf\udce9"})
    assert "convmv" in caught.value.way_out
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_takes_the_bytes_and_stays_a_pipe(tmp_path):
    """So do devices: a file in place of `/dev/null` would break the machine of whoever may write there."""
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "whole")
    assert os.read(reader, 100) == b"whole"
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_standard_stream_takes_the_bytes_where_a_shell_sent_it_to_a_file(tmp_path):
    code = "from pathlib import Path; from fusion_ln.files.formats import write_text; "
    code += "print('before', flush=True); write_text(Path('/dev/stdout'), 'whole')"
    with (tmp_path / "out").open("a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nwhole"
    assert Path("/dev/stdout").is_symlink()
