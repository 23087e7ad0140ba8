import numpy as np
import pandas as pd
import pytest

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom.findings import attainable, attainable_by_tables, posterior, tables
from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.patients import chances_by_class, draw_patients, draw_present
from fusion_ln.cohort.phantom.settings import SHIFTS, PhantomSettings
from fusion_ln.cohort.phantom.shift import DEPTH, GAIN_DB, LEAST_MOVED, LEAST_SHARE, MISSING_CHANCES, draw_shift
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.cohort.phantom.truth import attainable_by_cohort, load_truth
from fusion_ln.errors import SettingsError

ALL = ("2d", "cdfi", "elastic")
SMALL = {"n_patients": 24, "image_size": 32, "k": 2, "seed": 3}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shift")
    named = {"home": (), "gain": ("gain",), "other": ("prevalence", "missing")}
    return {name: simulate_cohort(folder / name, **SMALL, shift=shift) for name, shift in named.items()}


def test_the_seed_draws_sizes_in_bounds_and_no_shift_changes_another():
    for seed in range(20):
        shift = draw_shift(SHIFTS, seed)
        assert GAIN_DB[0] <= abs(shift.gain_db) <= GAIN_DB[1]
        assert DEPTH[0] <= shift.depth <= DEPTH[1]
        assert all(MISSING_CHANCES[0] <= chance <= MISSING_CHANCES[1] for chance in shift.missing)
        assert sum(shift.prevalence) == pytest.approx(1)
        assert min(shift.prevalence) >= LEAST_SHARE - 0.001
        assert np.abs(shift.law.prevalence - tables().prevalence).sum() / 2 >= LEAST_MOVED - 0.001
        joined = [found for name in SHIFTS for found in draw_shift([name], seed).describe().items()]
        assert dict(joined) == shift.describe()
    assert draw_shift(["gain"], 0) != draw_shift(["gain"], 1)


def test_a_shift_changes_the_scanner_by_what_it_says():
    home = Scanner("A", depth_mm=30, gain_db=1, dynamic_range_db=60, resolution_mm=0.5)
    shift = draw_shift(["gain", "depth", "scanner"], 5)
    said = shift.describe()
    assert shift.scanner(home) == Scanner(
        "A", 30 * said["depth"], 1 + said["gain_db"], 60 * said["dynamic_range"], 0.5 * said["resolution"]
    )
    assert draw_shift([], 5).scanner(home) == home


def test_gain_changes_pictures_and_nothing_of_the_patients(simulated):
    home, other = simulated["home"], simulated["gain"]
    pd.testing.assert_frame_equal(home.patients, other.patients)
    assert home.details.attainable == other.details.attainable
    assert not (home.images["sha256"] == other.images["sha256"]).any()
    read = load_cohort(other.root)
    assert read.name == "phantom-24-gain"
    assert read.details.shift == {"gain_db": draw_shift(["gain"], 3).gain_db}


def test_truth_of_a_shifted_site_is_that_of_its_own_law(simulated):
    cohort = simulated["other"]
    law = cohort.details.shift
    shares = np.array(list(law["prevalence"].values()))
    counts = cohort.patients["label"].value_counts(normalize=True, sort=False).sort_index()
    np.testing.assert_allclose(counts, shares, atol=1.5 / 24)
    of = load_truth(cohort).posteriors
    columns = [f"prob_{name}" for name in cohort.classes]
    np.testing.assert_allclose(of.loc[of["subset"] == "", columns], np.tile(shares, (24, 1)))
    patients, home = cohort.patients, posterior(cohort.patients, ["cdfi"])
    moved = home * shares / tables().prevalence  # Bayes: only the prior changes
    moved /= moved.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(of.loc[of["subset"] == "cdfi", columns], moved, atol=1e-12)
    cdfi = patients["patient_id"].isin(cohort.images_of("cdfi")["patient_id"]).to_numpy()
    expected = attainable(moved[cdfi], patients["label"].to_numpy()[cdfi])["auc"]
    assert cohort.details.attainable.cohort["cdfi"]["auc"] == pytest.approx(expected)


def test_attainable_auc_of_missing_pictures_is_that_of_a_large_sample():
    shift, rng = draw_shift(["prevalence", "missing"], 1), np.random.default_rng(0)
    patients = draw_patients(30_000, ["A"], rng, shift.law)
    present = draw_present(patients["label"].to_numpy(), shift.missing, 0, rng)
    for asked in (ALL, ("2d", "elastic")):
        seen = present & np.isin(ALL, asked)
        probs = np.empty((len(patients), 3))
        for pattern in np.unique(seen, axis=0):
            rows = (seen == pattern).all(axis=1)
            probs[rows] = posterior(patients[rows], np.array(ALL)[pattern], shift.law)
        kept = seen.any(axis=1)
        sampled = attainable(probs[kept], patients["label"].to_numpy()[kept], known=shift.law)
        exact = attainable_by_tables(asked, shift.law, chances_by_class(shift.missing))
        assert exact["auc"] == pytest.approx(sampled["auc"], abs=0.005)
        assert exact["balanced_recall_lymphoma"] == pytest.approx(sampled["balanced_recall_lymphoma"], abs=0.01)
    assert attainable_by_tables(["2d"], missing=chances_by_class((0, 1, 1))) == pytest.approx(
        attainable_by_tables(["2d"])
    )


@pytest.mark.parametrize("link", [0.0, 0.8])
def test_attainable_auc_knows_which_pictures_there_are(link):
    """A link between presence and class multiplies the posterior by P(presence | class), found here by counting."""
    rng, missing = np.random.default_rng(0), (0.2, 0.3, 0.5)
    patients = draw_patients(30_000, ["A"], rng)
    labels = patients["label"].to_numpy()
    present = draw_present(labels, missing, link, rng)
    counted = draw_present(np.repeat(np.arange(3), 40_000), missing, link, np.random.default_rng(1)).reshape(3, -1, 3)
    chances = chances_by_class(missing, link)
    for asked in (ALL, ("2d", "elastic")):
        shown, seen = np.isin(ALL, asked), present & np.isin(ALL, asked)
        probs = np.empty((len(patients), 3))
        for pattern in np.unique(seen, axis=0):
            rows = (seen == pattern).all(axis=1)
            joint = posterior(patients[rows], np.array(ALL)[pattern])
            joint *= ((counted & shown) == pattern).all(axis=2).mean(axis=1)
            probs[rows] = joint / joint.sum(axis=1, keepdims=True)
        kept = seen.any(axis=1)
        sampled = attainable(probs[kept], labels[kept])
        assert attainable_by_tables(asked, missing=chances)["auc"] == pytest.approx(sampled["auc"], abs=0.005)
        of_cohort = attainable_by_cohort(patients, present, missing=chances)["+".join(asked)]
        assert of_cohort["auc"] == pytest.approx(sampled["auc"], abs=0.001)


def test_missing_pictures_go_by_modality():
    labels = np.arange(6000) % 3
    present = draw_present(labels, (0.1, 0.3, 0.6), 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(1 - present.mean(axis=0), (0.1, 0.3, 0.6), atol=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": ("gian",)}, "Did you mean 'gain'"),
        ({"shift": ("missing",), "missing": 0.2}, "draws the chances itself"),
    ],
)
def test_a_shift_that_cannot_be_drawn_is_refused(tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        simulate_cohort(tmp_path / "p", **SMALL, **settings)
    assert not (tmp_path / "p").exists()
    with pytest.raises(SettingsError, match="shift"):
        PhantomSettings.read(settings, "options")


def test_eight_sites_are_known_and_each_is_a_fold(tmp_path):
    cohort = simulate_cohort(tmp_path / "p", n_patients=48, image_size=32, n_sites=8, by_site=True)
    assert cohort.n_folds == 8
    assert sorted(cohort.patients["site"].unique()) == list("ABCDEFGH")
