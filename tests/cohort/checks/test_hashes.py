"""A picture is recognised by its hashes: copies of it are, pictures that are alike by their layout alone are not."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from fusion_ln.cohort.checks.hashes import KnownHashes, hash_copies
from fusion_ln.cohort.checks.thumbnail import grey_copy

SIDE = 96


def smooth(rng, width=5):
    field = gaussian_filter(rng.normal(size=(SIDE, SIDE)), width, mode="wrap")
    return field / field.std()


def draw(layout, content):
    grey = (128 + 40 * layout + 9 * content).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def scanner():
    """The layout of a scanner, and the contents of its pictures."""
    rng = np.random.default_rng(0)
    return smooth(rng, 12), [smooth(rng) for _ in range(30)]


@pytest.fixture(scope="module")
def known(scanner):
    layout, contents = scanner
    copies = np.stack([grey_copy(draw(layout, content)) for content in contents])
    return KnownHashes((hash_copies(copies, [str(i) for i in range(len(copies))]),))


def resized_jpeg(picture):
    file = io.BytesIO()
    small = Image.fromarray(picture).resize((72, 72), Image.Resampling.BICUBIC)
    small.save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize(
    "alter",
    [lambda p: p, lambda p: (p.astype(int) + 5).clip(0, 255).astype(np.uint8), resized_jpeg, lambda p: p[1:, :-1]],
    ids=["itself", "brighter", "resized JPEG", "cropped"],
)
def test_near_copies_are_recognised(scanner, known, alter):
    layout, contents = scanner
    found = [known.recognise(alter(draw(layout, content)), "new") for content in contents]
    assert all("nearly the same picture" in how for how in found)


def test_pictures_alike_by_their_layout_are_not_taken_for_copies(scanner, known):
    """Their thumbnails correlate by 0.97, as those of copies do; what differs between pictures by 0.7 only."""
    (layout, contents), rng = scanner, np.random.default_rng(1)
    for content in contents:
        other = draw(layout, 0.7 * content + 0.71 * smooth(rng))
        both = [grey_copy(each) for each in (draw(layout, content), other)]
        assert np.corrcoef(both)[0, 1] > 0.97
        assert known.recognise(other, "new") == ""


def test_the_same_file_is_named_before_its_looks(scanner, known):
    assert known.recognise(draw(*map(np.zeros_like, (scanner[0], scanner[0]))), "7") == "the same file"


def test_pictures_of_another_collection_are_named_by_it(scanner, known):
    rng, layout = np.random.default_rng(2), scanner[0]
    new = draw(layout, smooth(rng))
    other = hash_copies(grey_copy(new)[None], ["x"], "the pre-training on livers")
    both = KnownHashes((*known.collections, other))
    assert both.recognise(new, "new") == "nearly the same picture of the pre-training on livers (100% of its hash)"
    assert both.n_own == 30
