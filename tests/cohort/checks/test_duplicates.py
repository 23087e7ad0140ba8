import numpy as np
import pytest
from PIL import Image

from fusion_ln.cohort.checks import duplicates
from fusion_ln.cohort.checks.duplicates import (
    clusters,
    near_pairs,
    near_pairs_between,
    normalised_thumbnails,
    thumbnail,
)
from fusion_ln.cohort.checks.thumbnail import grey_copy
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.decode.picture import read_picture


def smooth_picture(rng, size=64):
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))[..., None].repeat(3, 2)


def slow_near_pairs(thumbnails):
    """The definition, pair by pair: 0.95 as they are, 0.80 without the mean of the others (few others: corrected)."""
    found = []
    n = len(thumbnails)
    for i in range(n):
        for j in range(i + 1, n):
            others = np.delete(thumbnails, [i, j], axis=0)
            a, b = thumbnails[i] - others.mean(0), thumbnails[j] - others.mean(0)
            content = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            content = content - (1 - content) / (n - 2)
            if thumbnails[i] @ thumbnails[j] >= 0.95 and content >= 0.80:
                found.append((i, j))
    return found


def test_near_pairs_of_many_pictures_are_those_of_all_products(rng, monkeypatch):
    """Pictures of one layout, some of them twice, with more or less noise."""
    coarse = rng.normal(size=(200, 8, 8)) + rng.normal(size=(8, 8))
    pictures = coarse.repeat(4, 1).repeat(4, 2).reshape(200, -1)
    pictures[150:] = pictures[:50] + np.linspace(0, 0.8, 50)[:, None] * rng.normal(size=(50, 1024))
    thumbnails = normalised_thumbnails(pictures)
    pairs, correlations = near_pairs(thumbnails)
    monkeypatch.setattr(duplicates, "MANY", 100)
    sought = near_pairs(thumbnails)
    assert 10 < len(pairs) < 50
    assert sought[0].tolist() == pairs.tolist()
    assert sought[1] == pytest.approx(correlations, abs=1e-5)


def test_near_pairs_match_their_definition(rng):
    layout = rng.normal(size=1024)
    contents = rng.normal(size=(8, 1024))
    rows = np.concatenate([contents[rng.integers(8, size=30)] + 0.1 * rng.normal(size=(30, 1024)), contents])
    thumbnails = rows + 3 * layout
    thumbnails = thumbnails - thumbnails.mean(1, keepdims=True)
    thumbnails = (thumbnails / np.linalg.norm(thumbnails, axis=1, keepdims=True)).astype(np.float32)
    pairs, correlations = near_pairs(thumbnails)
    expected = slow_near_pairs(thumbnails.astype(np.float64))
    assert expected
    assert pairs.tolist() == [list(pair) for pair in expected]
    np.testing.assert_allclose(correlations, [thumbnails[i] @ thumbnails[j] for i, j in expected], rtol=1e-5)


def test_a_resized_recompressed_brighter_copy_is_found_among_others(rng, tmp_path):
    pictures = [smooth_picture(rng) for _ in range(12)]
    copy = Image.fromarray((pictures[3] * 0.7 + 40).astype(np.uint8)).resize((90, 70))
    copy.save(tmp_path / "copy.jpg", quality=60)
    thumbnails = np.stack([thumbnail(picture) for picture in [*pictures, read_picture(tmp_path / "copy.jpg")]])
    assert near_pairs(thumbnails)[0].tolist() == [[3, 12]]


def test_a_layout_that_all_pictures_share_makes_no_pairs(rng):
    """A black border with writing correlates by itself; what lies inside it decides."""
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[2:5, ::3] = 255
    pictures = []
    for _ in range(15):
        picture = frame.copy()
        picture[8:-8, 8:-8] = 150 + smooth_picture(rng, 48) // 8
        pictures.append(thumbnail(picture))
    thumbnails = np.stack(pictures)
    assert (np.triu(thumbnails @ thumbnails.T, 1) > 0.95).any()  # the trap is set
    assert len(near_pairs(thumbnails)[0]) == 0


def test_simulated_patients_are_not_taken_for_each_other(tmp_path):
    cohort = simulate_cohort(tmp_path / "phantom", n_patients=40, image_size=64)
    for modality in cohort.modalities:
        paths = [cohort.picture_path(path) for path in cohort.images_of(modality)["path"]]
        assert len(near_pairs(np.stack([thumbnail(read_picture(path)) for path in paths]))[0]) == 0


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_pictures_have_no_pairs(n):
    pairs, correlations = near_pairs(np.zeros((n, 1024), np.float32))
    assert pairs.shape == (0, 2)
    assert correlations.shape == (0,)


def test_flat_pictures_are_like_nothing():
    flat = np.stack([thumbnail(np.full((20, 20, 3), value, np.uint8)) for value in (0, 0, 128)])
    assert len(near_pairs(flat)[0]) == 0


def test_clusters_join_what_pairs_join():
    groups = clusters(6, np.array([[0, 2], [2, 5], [3, 4]]))
    assert groups[0] == groups[2] == groups[5]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3


def test_pairs_between_two_sets_are_those_across_their_union(rng):
    pictures = [smooth_picture(rng) for _ in range(40)]
    first, second = pictures[:25], [*pictures[25:], (pictures[4] * 0.8 + 20).astype(np.uint8), pictures[7]]
    copies = np.stack([grey_copy(picture) for picture in first])
    thumbnails = np.stack([thumbnail(picture) for picture in second])
    pairs, correlations = near_pairs_between(copies, thumbnails)
    union, _ = near_pairs(np.concatenate([normalised_thumbnails(copies), thumbnails]))
    assert pairs.tolist() == [[i, j - 25] for i, j in union.tolist() if i < 25 <= j] == [[4, 15], [7, 16]]
    assert (correlations > 0.95).all()
