import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.phantom import patients, simulate
from fusion_ln.cohort.phantom.findings import attainable, attainable_by_tables, posterior, tables
from fusion_ln.cohort.phantom.patients import draw_patients, draw_present
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.cohort.phantom.studio import Studio
from fusion_ln.cohort.phantom.truth import attainable_by_cohort, load_truth
from fusion_ln.decode.readers import find_readers
from fusion_ln.errors import CohortError, SettingsError

MODALITIES = ("2d", "cdfi", "elastic")

SMALL = {"n_patients": 12, "image_size": 48, "k": 2}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("phantom") / "p", n_patients=60, image_size=96, seed=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("small") / "p", **SMALL)


def hashes(cohort):
    return cohort.images.set_index("image_id")["sha256"]


def pixels(cohort, image):
    return np.asarray(Image.open(cohort.picture_path(image.path)), dtype=float)


def inside(outline_x, outline_y, size):
    mask = Image.new("1", (size, size))
    ImageDraw.Draw(mask).polygon(list(zip(outline_x, outline_y, strict=True)), fill=1)
    return np.asarray(mask)


def test_the_folder_is_a_cohort_that_says_simulated(cohort):
    read = load_cohort(cohort.root)
    assert read.simulated
    assert read.name == "phantom-60"
    assert read.classes == ("benign", "lymphoma", "metastatic")
    assert read.fingerprint == cohort.fingerprint
    assert len(read.images) == 180
    assert read.details == cohort.details


def test_classes_come_in_the_papers_proportions(tmp_path):
    counts = np.bincount(draw_patients(586, ["A"], np.random.default_rng(0))["label"])
    assert counts.tolist() == [164, 122, 300]


def test_ids_tell_nothing_about_the_class(cohort):
    labels = cohort.patients.sort_values("patient_id")["label"].to_numpy()
    assert len(np.flatnonzero(np.diff(labels))) > 20  # sorted by class there would be two changes


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_threads(tmp_path, monkeypatch):
    first = simulate_cohort(tmp_path / "a", **SMALL, seed=4, shortcut=0.5, missing=0.2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    second = simulate_cohort(tmp_path / "b", **SMALL, seed=4, shortcut=0.5, missing=0.2)
    assert hashes(first).equals(hashes(second))
    for name in ("patients", "images", "folds", "truth", "posteriors"):
        one, other = (folder / f"{name}.parquet" for folder in (first.root, second.root))
        assert one.read_bytes() == other.read_bytes(), name
    assert not hashes(first).isin(hashes(simulate_cohort(tmp_path / "c", **SMALL, seed=5))).any()


def test_simulated_readers_leave_all_else_as_it_is(tmp_path):
    without = simulate_cohort(tmp_path / "without", **SMALL, seed=4)
    cohort = simulate_cohort(tmp_path / "with", **SMALL, seed=4, n_readers=3)
    for name in ("images", "folds", "truth", "posteriors"):
        one, other = (made.root / f"{name}.parquet" for made in (without, cohort))
        assert one.read_bytes() == other.read_bytes(), name
    of_readers = [column for column in cohort.patients if column.startswith("reader:")]
    pd.testing.assert_frame_equal(cohort.patients.drop(columns=of_readers), without.patients)
    assert cohort.fingerprint == without.fingerprint
    readers = find_readers(load_cohort(cohort.root).patients, cohort.classes, "phantom")
    assert [reader.name for reader in readers] == ["R1", "R2", "R3"]
    for reader in readers:
        assert len(reader.calls) == 12
        assert set(reader.suspicion) == set(cohort.classes)
        assert all(of.between(1, 5).all() for of in reader.suspicion.values())


@pytest.mark.parametrize("finding", [name for name in tables().levels if name != "shape"])
def test_a_finding_changes_only_the_pictures_that_show_it(small, tmp_path, monkeypatch, finding):
    before = hashes(small)
    draw = patients.draw_findings
    levels = tables().levels[finding]
    monkeypatch.setattr(
        patients,
        "draw_findings",
        lambda *args: draw(*args).assign(
            **{finding: lambda drawn: [levels[levels.index(level) - 1] for level in drawn[finding]]}
        ),
    )
    after = hashes(simulate_cohort(tmp_path / "after", **SMALL))
    for modality, shown in tables().shown.items():
        same = (before == after)[before.index.str.endswith(f"-{modality}")]
        assert not same.any() if finding in shown else same.all(), modality


def test_class_age_sex_and_smoking_do_not_change_a_byte(small, tmp_path, monkeypatch):
    draw = simulate.draw_patients
    shuffled = ["label", "age", "sex", "smoking"]
    monkeypatch.setattr(
        simulate,
        "draw_patients",
        lambda *args: draw(*args).assign(**{c: draw(*args)[c][::-1].array for c in shuffled}),
    )
    after = simulate_cohort(tmp_path / "after", **SMALL)
    assert not small.patients["label"].equals(after.patients["label"])
    assert hashes(small).equals(hashes(after))


def test_axes_tell_the_shape_and_nothing_else(cohort):
    rng = np.random.default_rng(0)
    patients = draw_patients(3000, ["A"], rng)
    ratio = patients["long_axis_mm"] / patients["short_axis_mm"]
    area = patients["long_axis_mm"] * patients["short_axis_mm"]
    assert ratio[patients["shape"] == "oval"].min() > 2 > ratio[patients["shape"] == "intermediate"].max()
    assert ratio[patients["shape"] == "round"].max() < 1.2 < ratio[patients["shape"] == "intermediate"].min()
    means, spread = area.groupby(patients["label"]).mean(), area.std() / np.sqrt(patients["label"].value_counts().min())
    assert means.max() - means.min() < 4 * spread


def test_the_true_outline_lies_on_the_node(cohort):
    truth = load_truth(cohort).pictures
    assert truth["image_id"].tolist() == cohort.images["image_id"].tolist()
    darker = []
    for image, known in zip(cohort.images.itertuples(), truth.itertuples(), strict=True):
        node = inside(known.outline_x, known.outline_y, image.width)
        ellipse_area = np.pi * known.node_semi_long * known.node_semi_short
        assert node.sum() == pytest.approx(ellipse_area, rel=0.25)
        if image.modality == "cdfi":
            yy, xx = np.mgrid[: image.height, : image.width]
            ring = (np.hypot(xx - known.node_x, yy - known.node_y) < known.node_semi_long + 6) & ~node
            grey = pixels(cohort, image).mean(axis=2)
            darker.append(np.median(grey[node]) < np.median(grey[ring]))
    assert np.mean(darker) > 0.95


def test_the_blue_share_of_a_node_grows_with_its_elastography_score(cohort):
    truth = load_truth(cohort).pictures.set_index("image_id")
    scores = cohort.patients.set_index("patient_id")["elastography_score"]
    shares = {score: [] for score in (1, 2, 3, 4)}
    for image in cohort.images_of("elastic").itertuples():
        known = truth.loc[image.image_id]
        red, green, blue = pixels(cohort, image)[inside(known["outline_x"], known["outline_y"], image.width)].T
        shares[scores[image.patient_id]].append(np.mean((blue > red) & (blue > green)))
    one, two, three, four = (np.mean(shares[score]) for score in (1, 2, 3, 4))
    assert one < 0.1 < two < 0.45 < three < 0.75 < four


def test_the_planted_stamp_changes_nothing_outside_its_box(small, tmp_path):
    stamped = simulate_cohort(tmp_path / "stamped", **SMALL, shortcut=1.0)
    for before, after, known in zip(
        small.images.itertuples(),
        stamped.images.itertuples(),
        load_truth(stamped).pictures.itertuples(),
        strict=True,
    ):
        (stamp,) = (mark for mark in known.marks if mark["name"] == "stamp")
        rows, columns = np.nonzero((pixels(small, before) != pixels(stamped, after)).any(axis=2))
        assert len(rows)
        assert stamp["left"] - 1 <= columns.min() <= columns.max() <= stamp["right"] + 1
        assert stamp["top"] - 1 <= rows.min() <= rows.max() <= stamp["bottom"] + 1
        node = inside(known.outline_x, known.outline_y, before.width)
        assert not node[rows, columns].any()
    assert not any(mark["name"] == "stamp" for marks in load_truth(small).pictures["marks"] for mark in marks)


def test_the_stamp_goes_with_the_label_in_the_share_asked_for(monkeypatch):
    studio = Studio(None, None, {}, 96, 0, shortcut=0.7)
    rng = np.random.default_rng(0)
    own = np.mean([studio.draw_stamp(1, rng) == 1 for _ in range(4000)])
    assert own == pytest.approx(0.7 + 0.3 / 3, abs=0.03)


def test_every_picture_says_simulated(cohort):
    truth = load_truth(cohort).pictures
    written = []
    for image, known in zip(cohort.images.itertuples(), truth.itertuples(), strict=True):
        (mark,) = (mark for mark in known.marks if mark["name"] == "simulated")
        box = [round(mark[side]) for side in ("left", "top", "right", "bottom")]
        written.append(pixels(cohort, image)[box[1] : box[3], box[0] : box[2]])
    assert written[0].max() > 150
    assert all(np.array_equal(text, written[0]) for text in written)


def test_missing_pictures_leave_every_patient_at_least_one(tmp_path):
    cohort = simulate_cohort(tmp_path / "p", n_patients=40, image_size=32, missing=0.6, k=2)
    per_patient = cohort.images["patient_id"].value_counts()
    assert set(per_patient.index) == set(cohort.patients["patient_id"])
    assert 0.35 < len(cohort.images) / 120 < 0.6
    assert not load_truth(cohort).posteriors.isna().any(axis=None)


def test_a_link_makes_missing_go_with_the_label_and_none_leaves_every_draw():
    labels = np.arange(3000) % 3
    plain, linked = (draw_present(labels, 0.3, link, np.random.default_rng(2)) for link in (0.0, 0.8))
    rng = np.random.default_rng(2)
    drawn = rng.random((3000, 3)) >= 0.3
    kept, empty = rng.integers(3, size=3000), ~drawn.any(axis=1)
    drawn[empty, kept[empty]] = True
    np.testing.assert_array_equal(plain, drawn)
    assert [round(1 - linked[labels == c].mean(), 1) for c in range(3)] == [0.5, 0.3, 0.1]


def test_cohorts_attainable_figures_use_the_pictures_that_exist():
    patients = draw_patients(80, ["A"], np.random.default_rng(0))
    present = draw_present(patients["label"].to_numpy(), 0.4, 0.0, np.random.default_rng(1))
    figures = attainable_by_cohort(patients, present)
    labels = patients["label"].to_numpy()
    only = present[:, 1]
    assert figures["cdfi"] == pytest.approx(attainable(posterior(patients[only], ["cdfi"]), labels[only]))
    rows = []
    for number, has in enumerate(present):
        held = [name for name, there in zip(MODALITIES, has, strict=True) if there]
        rows.append(posterior(patients.iloc[[number]], held)[0])
    assert figures["2d+cdfi+elastic"] == pytest.approx(attainable(np.array(rows), labels))


def test_details_hold_settings_and_both_kinds_of_attainable_figures(cohort):
    details = cohort.details
    assert details.model_dump(exclude={"attainable"}, exclude_unset=True) == {
        "n_patients": 60, "image_size": 96, "seed": 1, "sites": ("A", "B", "C"), "missing": 0.0, "shortcut": 0.0,
    }  # fmt: skip
    assert details.attainable.tables["2d"] == attainable_by_tables(["2d"])
    assert len(details.attainable.cohort) == 7
    assert cohort.patients["site"].value_counts().tolist() == [20, 20, 20]


def test_posteriors_cover_every_subset_and_the_empty_one(cohort):
    posteriors = load_truth(cohort).posteriors
    assert posteriors["subset"].nunique() == 8
    columns = [f"prob_{name}" for name in cohort.classes]
    np.testing.assert_allclose(
        posteriors.loc[posteriors["subset"] == "", columns].drop_duplicates(), [tables().prevalence]
    )
    triplet = posteriors[posteriors["subset"] == "2d+cdfi+elastic"].set_index("patient_id")[columns]
    expected = pd.DataFrame(posterior(cohort.patients, MODALITIES), cohort.patients["patient_id"], columns)
    pd.testing.assert_frame_equal(triplet, expected)


def test_pictures_of_two_sizes_show_the_same_node(tmp_path):
    small = simulate_cohort(tmp_path / "s", **(SMALL | {"image_size": 64}))
    large = simulate_cohort(tmp_path / "l", **(SMALL | {"image_size": 192}))
    one, other = load_truth(small).pictures, load_truth(large).pictures
    np.testing.assert_allclose(one["node_semi_long"] * 3, other["node_semi_long"], rtol=0.03)
    np.testing.assert_allclose(one["node_x"] * 3, other["node_x"], atol=4)
    for before, after in zip(small.images.itertuples(), large.images.itertuples(), strict=True):
        assert pixels(small, before).mean() == pytest.approx(pixels(large, after).mean(), abs=10)


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ({"n_patients": 0}, "--patients"),
        ({"image_size": 8}, "--image-size"),
        ({"n_sites": 9}, "--sites"),
        ({"missing": 1.0}, "--missing"),
        ({"shortcut": 1.5}, "--shortcut"),
        ({"missing_link": 0.5}, "--missing-link"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path, setting, word):
    with pytest.raises(SettingsError, match=word):
        simulate_cohort(tmp_path / "p", **(SMALL | setting))
    assert not (tmp_path / "p").exists()


def test_fewer_patients_than_folds_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CohortError, match="fewer than the 5 folds"):
        simulate_cohort(tmp_path / "p", n_patients=12, image_size=32, k=5)
    assert not (tmp_path / "p").exists()


def test_a_folder_that_holds_a_cohort_is_left_alone(cohort):
    with pytest.raises(CohortError, match="holds a cohort already"):
        simulate_cohort(cohort.root)


def test_truth_of_a_real_cohort_is_unknown(cohort):
    with pytest.raises(CohortError, match="phantom cohorts only"):
        load_truth(replace(cohort, simulated=False))
