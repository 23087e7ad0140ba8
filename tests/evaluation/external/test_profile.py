import numpy as np
import pandas as pd
import pytest

from fusion_ln.evaluation.external.profile import FEATURES, FEWEST_SHOWN, measure_pictures, profile_cohort


def test_pictures_are_measured_as_their_definitions_say(rng):
    pixels = rng.integers(0, 256, (3, 3, 6, 6), dtype=np.uint8)
    found = measure_pictures(pixels)
    for number, picture in enumerate(pixels / 255):
        grey = picture.mean(axis=0)
        steps = (np.abs(grey[1:] - grey[:-1]).mean() + np.abs(grey[:, 1:] - grey[:, :-1]).mean()) / 2
        expected = [grey.mean(), grey.std(), steps, np.ptp(picture, axis=0).mean()]
        assert found[list(FEATURES)].iloc[number].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_profile_names_no_patient():
    """A value of fewer than five patients is not told, nor any of a text that may name them."""
    patients = [f"P{number}" for number in range(20)]
    images = pd.DataFrame({"patient_id": patients[:19] + patients[:9], "modality": ["2d"] * 19 + ["cdfi"] * 9})
    clinical = pd.DataFrame(
        {"sex": ["f"] * 9 + ["m"] * 8 + ["x"] * 2 + [None], "note": patients, "age": [40.0] * 4 + [None] * 16}
    )
    features = {"2d": measure_pictures(np.zeros((FEWEST_SHOWN, 3, 4, 4), np.uint8)), "cdfi": pd.DataFrame()}
    found = profile_cohort(images, patients, ["2d", "cdfi"], features, clinical)
    assert found.presence == {"2d": 10, "2d+cdfi": 9, "": 1}
    assert found.categories == {"sex": {"f": 9 / 19, "m": 8 / 19}}
    assert found.known == {"sex": 19}
    assert list(found.pictures) == ["2d"]
    assert not found.numbers
