import numpy as np
import pandas as pd
import pytest

from fusion_ln.decode.stored import holds_array, load_arrays, read_stored_table, wrong_column
from fusion_ln.errors import RunError
from fusion_ln.files.formats import write_arrays

DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"garbage" * 50,
    "reversed": lambda content: content[::-1],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_from_a_whole_one(tmp_path, damage, capsys):
    table, arrays, array = (tmp_path / name for name in ("t.parquet", "a.npz", "a.npy"))
    pd.DataFrame({"a": range(100)}).to_parquet(table)
    write_arrays(arrays, {"a": np.arange(100)})
    np.save(array, np.arange(100))
    assert len(read_stored_table(table, "", {"a": "whole"})) == 100
    assert load_arrays(arrays)["a"].sum() == 4950
    assert holds_array(array)
    with pytest.raises(RunError, match="lacks the column 'b'"):
        read_stored_table(table, "Restore it.", {"a": "whole", "b": "text"})
    for path in (table, arrays, array):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(RunError, match=r"t\.parquet: cannot be read.*\n    Restore it"):
        read_stored_table(table, "Restore it.", {})
    assert load_arrays(arrays) is None
    assert not holds_array(array)
    assert not array.exists()  # to be made anew
    assert "a.npy: damaged" in capsys.readouterr().err


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(RunError, match=r"t\.parquet: is missing"):
        read_stored_table(tmp_path / "t.parquet", "Restore it.", {})
    assert load_arrays(tmp_path / "a.npz") is None
    assert not holds_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("kind", "fits", "other"),
    [
        ("text", ["a", "b"], ["a", 1.5]),
        ("text", ["a", "b"], [1, 2]),
        ("whole", [1, 2], [1.0, 2.0]),
        ("whole", [1, 2], [True, False]),
        ("whole", [1, 2], pd.array([1, None], dtype="Int64")),
        ("number", [1.5, np.nan], ["1.5", "2"]),
        ("number", [1, 2], [True, False]),
        ("number", [1, 2], [[1], [2]]),
        ("number", [1.5, 2], [1j, 2]),
        ("yes", [True, False], [1, 0]),
    ],
)
def test_a_column_of_another_kind_is_refused_not_converted(kind, fits, other):
    assert wrong_column(pd.DataFrame({"a": fits}), {"a": kind}) is None
    assert "its column 'a' holds something else than" in wrong_column(pd.DataFrame({"a": other}), {"a": kind})
