import numpy as np
import pandas as pd
import pytest

from fusion_ln.decode.stored import holds_array, load_arrays, read_table
from fusion_ln.errors import RunError
from fusion_ln.files import write_arrays

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
    assert len(read_table(table, "", ["a"])) == 100
    assert load_arrays(arrays)["a"].sum() == 4950
    assert holds_array(array)
    with pytest.raises(RunError, match="lacks the column 'b'"):
        read_table(table, "Restore it.", ["a", "b"])
    for path in (table, arrays, array):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(RunError, match=r"t\.parquet: cannot be read.*\n    Restore it"):
        read_table(table, "Restore it.")
    assert load_arrays(arrays) is None
    assert not holds_array(array)
    assert not array.exists()  # to be made anew
    assert "a.npy: damaged" in capsys.readouterr().err


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(RunError, match=r"t\.parquet: is missing"):
        read_table(tmp_path / "t.parquet", "Restore it.")
    assert load_arrays(tmp_path / "a.npz") is None
    assert not holds_array(tmp_path / "a.npy")
