"""Further draws of a cohort: other folds, and parts of the training patients."""

import numpy as np
import pytest

from fusion_ln.cohort.draws import draw_fractions, draw_repeats, save_draws
from fusion_ln.cohort.folder import load_cohort, redraw_folds
from fusion_ln.errors import CohortError, RunError, SettingsError


def test_repeats_have_own_folds_and_seeds_and_the_first_the_cohorts(make_cohort, tmp_path):
    cohort = make_cohort(30)
    draws = draw_repeats(cohort, tmp_path / "out", repeats=3, seed=5)
    save_draws(draws[1:])
    assert [draw.seed for draw in draws] == [5, 6, 7]
    assert (draws[0].folder, draws[0].cohort) == (tmp_path / "out", cohort)
    assert len({draw.cohort.folds_fingerprint for draw in draws}) == 3
    for draw in draws[1:]:
        held = load_cohort(draw.cohort.root)
        assert held.folds_fingerprint == draw.cohort.folds_fingerprint
        assert held.fingerprint == cohort.fingerprint
        assert held.n_folds == cohort.n_folds
        assert held.read_picture(held.images["image_id"].iloc[0]).size


def test_the_same_repeats_again_are_the_same_and_others_are_refused(make_cohort, tmp_path):
    cohort = make_cohort(30)
    first = draw_repeats(cohort, tmp_path / "out", repeats=2, seed=0)[1]
    save_draws([first])
    again = draw_repeats(cohort, tmp_path / "out", repeats=2, seed=0)[1]
    save_draws([again])
    assert first.cohort.folds_fingerprint == again.cohort.folds_fingerprint
    with pytest.raises(RunError, match=r"repeat-1.*holds other folds.*seed"):
        draw_repeats(cohort, tmp_path / "out", repeats=2, seed=1)


def test_folds_that_are_sites_cannot_be_repeated(make_cohort, tmp_path):
    cohort = redraw_folds(make_cohort(30).root, by_site=True)
    assert len(draw_repeats(cohort, tmp_path, repeats=1, seed=0)) == 1
    with pytest.raises(CohortError, match="its folds are its sites"):
        draw_repeats(cohort, tmp_path, repeats=2, seed=0)


def test_parts_are_nested_stratified_and_leave_the_held_out_patients(make_cohort, tmp_path):
    cohort = make_cohort(60, k=3)
    whole, *parts = draw_fractions(cohort, tmp_path, fractions=(0.5, 0.25, 1.0), seed=0)
    assert [part.fraction for part in parts] == [0.25, 0.5]
    labels = cohort.patients.set_index("patient_id")["label"]
    for fold in range(3):
        assert all(part.cohort.held_out(fold) == cohort.held_out(fold) for part in parts)
        quarter, half, full = ([*map(set, d.cohort.training_part(fold))] for d in (*parts, whole))
        for few, some, every in zip(quarter, half, full, strict=True):
            assert few <= some < every
            for count, share in ((few, 0.25), (some, 0.5)):
                found = np.bincount(labels.loc[sorted(count)], minlength=3)
                expected = np.bincount(labels.loc[sorted(every)], minlength=3) * share
                assert (np.abs(found - expected) <= 0.5).all()


def test_a_part_is_read_from_its_folder_as_it_was_drawn(make_cohort, tmp_path):
    cohort = make_cohort(30)
    draws = draw_fractions(cohort, tmp_path, fractions=(0.3, 0.6), seed=0)
    save_draws(draws[1:])
    drawn = draws[1].cohort
    held = load_cohort(drawn.root)
    assert held.training_part(0) == drawn.training_part(0)
    assert held.folds_fingerprint == drawn.folds_fingerprint
    assert held.folds_fingerprint != cohort.folds_fingerprint


@pytest.mark.parametrize(("fractions", "message"), [((0.41, 0.4101), "0.41 keeps the same"), ((0.999,), "as 1")])
def test_parts_that_keep_the_same_patients_are_refused(make_cohort, tmp_path, fractions, message):
    with pytest.raises(SettingsError, match=message):
        draw_fractions(make_cohort(40), tmp_path, fractions=fractions, seed=0)
    assert not list(tmp_path.glob("fraction-*"))
