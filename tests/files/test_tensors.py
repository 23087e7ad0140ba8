"""Arrays in safetensors files: read as the library reads them, damage and values that are none refused by name."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fusion_ln.errors import RunError
from fusion_ln.files.tensors import map_tensors, read_tensors, write_tensors

ARRAYS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, dtype=np.int64),
    "none": np.zeros((0, 4), dtype=np.float64),
    "mask": np.array([True, False]),
    "half": np.ones(3, dtype=np.float16),
}


def test_arrays_are_those_of_the_library(tmp_path):
    save_file(ARRAYS, tmp_path / "a.safetensors", {"format": "pt"})
    write_tensors(tmp_path / "b.safetensors", ARRAYS)
    for name in ("a", "b"):
        found, expected = (read(tmp_path / f"{name}.safetensors") for read in (as_arrays, load_file))
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array)
            assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)


def as_arrays(path):
    return read_tensors(path, "Restore it.")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(ARRAYS, path)
    whole = path.read_bytes()
    for content in (None, b"", whole[:4], whole[:50], whole[:-3], b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]"):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(RunError, match=r"a\.safetensors: damaged"):
            map_tensors(path, "Restore it.")


def test_values_that_are_no_numbers_are_refused(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"weight": np.array([1, np.nan], dtype=np.float32)})
    with pytest.raises(RunError, match="its tensor weight holds values that are not finite numbers"):
        as_arrays(tmp_path / "a.safetensors")
