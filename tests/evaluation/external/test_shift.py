import numpy as np
import pytest
from PIL import Image

from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.patients import draw_patients
from fusion_ln.cohort.phantom.shift import draw_shift
from fusion_ln.cohort.phantom.studio import Studio
from fusion_ln.evaluation.external.profile import (
    FEATURES,
    CohortProfile,
    Moments,
    measure_pictures,
    moments_given_class,
)
from fusion_ln.evaluation.external.shift import find_shift

CLASSES = ("benign", "lymphoma", "metastatic")
HOME = Scanner("A", depth_mm=34, gain_db=0, dynamic_range_db=60, resolution_mm=0.5)


@pytest.fixture(scope="module")
def draw(tmp_path_factory):
    """Draw grey-scale pictures of phantom patients: features by row, patients and labels."""

    def pictures(n, seed, shift=()):
        folder = tmp_path_factory.mktemp("site")
        patients = draw_patients(n, ["A"], np.random.default_rng(seed))
        scanner = draw_shift(shift, seed).scanner(HOME)
        studio = Studio(folder, patients, {"A": scanner}, 32, seed, shortcut=0)
        images, _ = studio.draw(np.tile([True, False, False], (n, 1)))
        pixels = np.stack([np.asarray(Image.open(folder / path)).transpose(2, 0, 1) for path in images["path"]])
        return measure_pictures(pixels), images["patient_id"].to_numpy(), patients["label"].to_numpy()

    return pictures


@pytest.fixture(scope="module")
def pool(draw):
    return draw(120, 0)


def site(features, patients, labels, rows=slice(None)):
    """Make the counts of the classes and the profile of some patients."""
    given = moments_given_class(features.iloc[rows].reset_index(drop=True), patients[rows], labels[rows], CLASSES)
    n = len(labels[rows])
    profile = CohortProfile(
        patients=n, presence={"2d": n}, given_class={name: {"2d": of} for name, of in given.items()}
    )
    return dict(zip(CLASSES, np.bincount(labels[rows], minlength=3).tolist(), strict=True)), profile


@pytest.fixture(scope="module")
def home(pool):
    return site(*pool, np.arange(0, 120, 2))


def test_a_site_of_the_same_law_shows_no_shift(pool, home):
    found = find_shift(*home, *site(*pool, np.arange(1, 120, 2)))
    assert found.kinds == ()
    assert found.sentence == (
        "No difference in the shares of the classes and the pictures of patients of the same class was found."
    )


@pytest.mark.parametrize("shift", ["gain", "depth", "scanner"])
def test_other_pictures_are_named_as_such(draw, home, shift):
    found = find_shift(*home, *site(*draw(30, 5, [shift])))
    assert found.kinds == ("pictures",)
    assert "the pictures of patients of the same class (most in 2d, " in found.sentence


def test_other_shares_of_classes_are_not_taken_for_other_pictures(pool, home):
    labels = pool[2]
    rest = np.arange(1, 120, 2)
    rows = np.concatenate([rest[labels[rest] == 0], rest[labels[rest] == 1], rest[labels[rest] == 2][:4]])
    found = find_shift(*home, *site(*pool, rows))
    assert found.kinds == ("prevalence",)
    assert "Pictures of the same class look alike" in found.sentence


def test_missing_pictures_are_named_with_the_modality(home):
    classes, profile = home
    model = profile.model_copy(update={"presence": {"2d+cdfi+elastic": 50, "2d+cdfi": 10}})
    other = profile.model_copy(update={"presence": {"2d+cdfi+elastic": 20, "2d+cdfi": 40}})
    found = find_shift(classes, model, classes, other)
    assert found.kinds == ("missing",)
    rows = found.tests[found.tests["kind"] == "missing"].set_index("of")
    assert list(rows.index) == ["elastic"]  # nobody lacks the others
    assert rows.loc["elastic", "largest"] == pytest.approx(30 / 60)


def test_figures_follow_their_formulas():
    ours, theirs = Moments(n=40, mean=0.3, deviation=0.1), Moments(n=25, mean=0.36, deviation=0.2)
    same = dict.fromkeys(FEATURES, ours)
    model = CohortProfile(patients=70, presence={"2d": 70}, given_class={"a": {"2d": same}, "b": {"2d": same}})
    moved = {"a": {"2d": same | {"contrast": theirs}}, "b": {"2d": same}}
    other = model.model_copy(update={"given_class": moved, "patients": 50, "presence": {"2d": 50}})
    tests = find_shift({"a": 40, "b": 30}, model, {"a": 20, "b": 30}, other).tests.set_index("of")
    z = 0.06 / np.sqrt(0.01 / 40 + 0.04 / 25)
    assert tests.loc["2d, contrast", "chi2"] == pytest.approx(z**2)
    assert tests.loc["2d, contrast", "p"] == pytest.approx(np.exp(-(z**2) / 2))  # two degrees of freedom
    assert tests.loc["2d, contrast", "largest"] == pytest.approx(0.6)
    # A 2 x 2 table: n (ad - bc)^2 over the product of the margins.
    of_classes = tests[tests["kind"] == "prevalence"].iloc[0]
    assert of_classes["chi2"] == pytest.approx(120 * (40 * 30 - 20 * 30) ** 2 / (60 * 60 * 70 * 50))


def test_kinds_are_named_where_there_are_none_as_seldom_as_said(rng):
    """Of 100 pairs of like cohorts about 5 % show some shift."""
    n, named = 40, 0  # patients of a class

    def moments():
        values = rng.normal(size=(n, len(FEATURES)))
        spread = values.std(axis=0, ddof=1)
        return {
            f: Moments(n=n, mean=m, deviation=s) for f, m, s in zip(FEATURES, values.mean(axis=0), spread, strict=True)
        }

    for _ in range(100):
        drawn = [
            (
                dict(zip(CLASSES, rng.multinomial(3 * n, [0.3, 0.3, 0.4]).tolist(), strict=True)),
                CohortProfile(
                    patients=120, presence={"2d": 120}, given_class={name: {"2d": moments()} for name in CLASSES}
                ),
            )
            for _ in range(2)
        ]
        named += bool(find_shift(*drawn[0], *drawn[1]).kinds)
    assert named <= 11
