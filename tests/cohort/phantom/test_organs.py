import numpy as np
import pytest
from PIL import Image

from fusion_ln.cohort.checks.duplicates import near_pairs, thumbnail
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.organs import ORGANS, simulate_organs
from fusion_ln.decode.picture import read_picture

FEWEST = 30  # six classes in five folds


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    return simulate_organs(tmp_path_factory.mktemp("organs"), n_patients=FEWEST, image_size=64)


def test_each_organ_is_a_simulated_cohort_of_its_own_with_even_classes(cohorts):
    assert [cohort.name for cohort in cohorts] == [f"simulated-{organ.name}" for organ in ORGANS]
    for cohort in cohorts:
        loaded = load_cohort(cohort.root)
        assert loaded.simulated
        assert loaded.modalities == ("2d",)
        assert np.ptp(np.bincount(loaded.patients["label"])) == 0
        assert Image.open(loaded.picture_path(loaded.images["path"].iloc[0])).size == (64, 64)


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(cohorts, tmp_path):
    again = simulate_organs(tmp_path / "again", n_patients=FEWEST, image_size=64)
    other = simulate_organs(tmp_path / "other", n_patients=FEWEST, image_size=64, seed=1)
    assert [c.fingerprint for c in again] == [c.fingerprint for c in cohorts]
    assert not {c.fingerprint for c in other} & {c.fingerprint for c in cohorts}


def test_every_site_holds_every_class_about_equally_often(cohorts):
    for cohort in cohorts:
        counts = cohort.patients.groupby(["site", "label"]).size().unstack(fill_value=0)
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


def test_simulated_patients_of_an_organ_are_not_taken_for_each_other(cohorts):
    for cohort in cohorts:
        pictures = [thumbnail(read_picture(cohort.picture_path(path))) for path in cohort.images["path"]]
        assert len(near_pairs(np.stack(pictures))[0]) == 0
