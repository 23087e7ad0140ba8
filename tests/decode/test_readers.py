import numpy as np
import pandas as pd
import pytest

from fusion_ln.decode.readers import find_readers, tidy_readers
from fusion_ln.errors import CohortError
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.terms import is_clinical

CLASSES = ("benign", "malignant")


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": ["a", "b", "c"], **columns})


def test_calls_by_name_or_number_in_any_case_and_suspicion_are_read():
    patients = table(
        **{"Reader: Li": ["Benign", "1", None], "reader:Li:MALIGNANT": [1, 5, np.nan], "reader:Wu": [0.0, np.nan, 1.0]}
    )
    tidy = tidy_readers(patients, CLASSES, "t")
    assert list(tidy.columns) == ["patient_id", "reader:Li", "reader:Li:malignant", "reader:Wu"]
    li, wu = find_readers(tidy, CLASSES, "t")
    assert (li.name, wu.name) == ("Li", "Wu")
    assert li.calls.to_dict() == {"a": "benign", "b": "malignant"}
    assert li.suspicion["malignant"].to_dict() == {"a": 1, "b": 5}
    assert wu.calls.to_dict() == {"a": "benign", "c": "malignant"}
    assert wu.suspicion == {}
    pd.testing.assert_frame_equal(tidy_readers(tidy, CLASSES, "t"), tidy)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"reader:Li": ["benign", "cyst", ""]}, "column 'reader:Li', patient b: 'cyst' is no class"),
        ({"reader:Li": ["benign", "2", ""]}, "column 'reader:Li', patient b: '2' is no class"),
        ({"reader:Li:cyst": [1, 2, 3]}, "column 'reader:Li:cyst': 'cyst' is no class"),
        ({"reader:Li:benign": ["1", "inf", ""]}, "column 'reader:Li:benign', patient b: 'inf' is no number"),
        ({"reader:Li:benign": ["1", "high", ""]}, "column 'reader:Li:benign', patient b: 'high' is no number"),
        ({"reader:": ["benign"] * 3}, "column 'reader:' names no reader"),
        ({"reader:Li": [None] * 3}, "reader 'Li' read no patient"),
        ({"reader:Li": ["benign"] * 3, "Reader: Li": ["benign"] * 3}, "two columns stand for 'reader:Li'"),
    ],
)
def test_what_is_no_reading_is_refused_with_its_place(columns, message):
    with pytest.raises(CohortError) as error:
        find_readers(table(**columns), CLASSES, "patients.csv")
    assert f"patients.csv: {message}" in str(error.value)


def test_columns_of_readers_are_never_clinical():
    assert not is_clinical("reader:Li")
    assert not is_clinical("Reader:Li:malignant")
    with pytest.raises(ValueError, match="reader:Li"):
        HeadSettings(clinical=("reader:Li",))
