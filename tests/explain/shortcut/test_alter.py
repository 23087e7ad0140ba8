from dataclasses import replace

import numpy as np
import pytest

from fusion_ln.cohort.regions.text import fill
from fusion_ln.explain.shortcut.alter import (
    grey_out,
    hide_node,
    keep_frame,
    mean_picture,
    paint_over_texts,
    swap,
    swap_within_class,
)
from fusion_ln.explain.shortcut.regions import BURNED_IN, NODE, PICTURE
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

MEAN = np.full((3, 40, 40), 77, dtype=np.uint8)


@pytest.fixture
def scene(rng):
    """Tissue in a black frame, a node in it, a text in the frame and one on the tissue."""
    regions = np.zeros((40, 40), dtype=np.uint8)
    regions[5:35, 5:35] = PICTURE
    regions[12:28, 10:30] |= NODE
    regions[1:4, 8:20] |= BURNED_IN
    regions[30:33, 6:12] |= BURNED_IN
    picture = np.zeros((3, 40, 40), dtype=np.uint8)
    picture[:, 5:35, 5:35] = rng.integers(60, 100, (3, 30, 30))
    picture[:, regions & NODE > 0] = 10
    picture[:, regions & BURNED_IN > 0] = 255
    return picture, regions


def test_a_hidden_node_is_gone_and_the_rest_untouched(scene):
    picture, regions = scene
    hidden, node = hide_node(picture, regions, MEAN), regions & NODE > 0
    np.testing.assert_array_equal(hidden[:, ~node], picture[:, ~node])
    assert hidden[:, node].min() >= 60  # of the tissue around it
    assert hidden[:, node].max() <= 100  # and not of the bright text


def test_nothing_of_the_node_is_left_in_its_place(scene, rng):
    """Whatever the node looked like, the altered picture is the same."""
    picture, regions = scene
    other = picture.copy()
    other[:, regions & NODE > 0] = rng.integers(0, 256, (3, int((regions & NODE > 0).sum())))
    np.testing.assert_array_equal(hide_node(picture, regions, MEAN), hide_node(other, regions, MEAN))


def test_painted_over_texts_are_gone_and_the_rest_untouched(scene):
    picture, regions = scene
    painted, texts, inside = paint_over_texts(picture, regions, MEAN), regions & BURNED_IN > 0, regions & PICTURE > 0
    np.testing.assert_array_equal(painted[:, ~texts], picture[:, ~texts])
    assert (painted[:, texts & ~inside] == 0).all()  # the frame is black
    assert painted[:, texts & inside].min() >= 10
    assert painted[:, texts & inside].max() <= 100


def test_no_tissue_is_left_if_only_the_frame_stays(scene):
    picture, regions = scene
    frame = keep_frame(picture, regions, MEAN)
    tissue = (regions & PICTURE > 0) & (regions & BURNED_IN == 0)
    assert (frame[:, tissue] == 77).all()
    np.testing.assert_array_equal(frame[:, ~tissue], picture[:, ~tissue])


def test_grey_keeps_luminance_alone(scene):
    picture = scene[0].copy()
    picture[:, 20, 20] = 200, 100, 50
    grey = grey_out(picture, scene[1], MEAN)
    assert (grey[0] == grey[1]).all()
    assert (grey[0] == grey[2]).all()
    assert grey[0, 20, 20] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def test_a_hole_with_nothing_around_it_becomes_black(scene):
    everywhere = np.ones((40, 40), dtype=bool)
    assert (fill(scene[0], everywhere, everywhere) == 0).all()
    np.testing.assert_array_equal(fill(scene[0], ~everywhere, everywhere), scene[0])


def test_the_mean_picture_is_that_of_the_tissue_alone():
    pixels = np.stack([np.full((3, 2, 2), value, dtype=np.uint8) for value in (10, 30, 90)])
    regions = np.full((3, 1, 2, 2), PICTURE, dtype=np.uint8)
    regions[2, 0, 0, 0] |= BURNED_IN
    regions[:, 0, 1, 1] = 0
    mean = mean_picture(pixels, regions)
    assert mean[0].tolist() == [[20, 43], [43, 0]]


@pytest.fixture
def patients():
    """24 patients of 3 classes with 1 or 2 pictures in each of two modalities; two lack the second."""
    names = np.array([f"P{i:02d}" for i in range(24)])
    labels = np.arange(24) % 3

    def bank(owners):
        pixels = np.zeros((len(owners), 3, 2, 2), dtype=np.uint8) + owners[:, None, None, None].astype(np.uint8)
        return ImageBank(pixels, names[owners], labels[owners])

    return gather_pictures({"a": bank(np.repeat(np.arange(24), 1 + np.arange(24) % 2)), "b": bank(np.arange(2, 24))})


def owners(pictures, modality):
    """Number of the patient whom the first picture of each patient really shows; -1 if it is absent."""
    batch = pictures.cut(np.arange(len(pictures.patients)))
    present = batch.present[:, modality, 0].numpy()
    return np.where(present, batch.pictures[modality][:, 0, 0, 0, 0].numpy().astype(int), -1)


def test_swaps_within_a_class_stay_within_class_and_fold(patients):
    folds = np.arange(24) // 12
    found = owners(swap_within_class(patients, folds, 1, seed=3), 1)
    assert (found[:2] == -1).all()  # without pictures they stay without
    has = np.arange(2, 24)
    assert (found[has] != has).all()
    assert (found[has] % 3 == has % 3).all()
    assert (found[has] // 12 == has // 12).all()
    assert sorted(found[has]) == has.tolist()


def test_only_the_named_modality_is_swapped(patients):
    swapped = swap(patients, np.zeros(24), 1, seed=0)
    assert owners(swapped, 0).tolist() == list(range(24))
    has = np.arange(2, 24)
    found = owners(swapped, 1)
    assert (found[has] != has).all()
    assert (found[has] % 3 != has % 3).any()
    assert swapped.labels.tolist() == patients.labels.tolist()


def test_a_patient_alone_in_a_group_keeps_the_pictures(patients):
    assert owners(swap(patients, np.arange(24), 0, seed=0), 0).tolist() == list(range(24))


@pytest.mark.parametrize("per_patient", [(2,) * 12, (1, 2, 3, 4, 5, 9), (15, 9), (3, 1, 20)])
def test_nodes_get_the_pictures_of_another_patient(patients, per_patient):
    of = np.repeat(np.arange(len(per_patient)), per_patient)
    nodes = replace(patients, patients=np.array([f"P{patient}::{node:02d}" for node, patient in enumerate(of)]))
    found = owners(swap(nodes, np.zeros(24), 0, seed=1), 0)
    assert (of[found] != of).all()
    if 2 * max(per_patient) <= 24:
        assert sorted(found) == list(range(24))
    alone = owners(swap(nodes, of, 0, seed=1), 0)
    assert alone.tolist() == list(range(24))
