"""Boxes of pictures that should be looked at: unlike the others, tiny, or one of two panes."""

from collections.abc import Container

import pandas as pd

from fusion_ln.terms import CINE, CROP, CROP_BY, HEIGHT, IMAGE, MODALITY, PATH, WIDTH

FEWEST = 5  # pictures of one modality and size that a box is compared with, else of all sizes
TINY = 0.2  # of the screen
UNLIKE = 0.1  # of the screen's side, between an edge of a box and the median of the others'


def one_a_file(images: pd.DataFrame) -> pd.DataFrame:
    """Take the first picture of each file and modality: the frames of a cine have one box."""
    if CINE not in images:
        return images
    files = images[CINE].where(images[CINE] != "", images[PATH])
    return images.assign(**{PATH: files}).drop_duplicates([PATH, MODALITY])


def odd_boxes(images: pd.DataFrame, seams: Container[str] = ()) -> dict[str, str]:
    """Find the boxes to be looked at in a cropped cohort's table of pictures.

    Args:
        images: The table.
        seams: Images with a seam between a grey and a coloured side.

    Returns:
        By image, why; those that are most likely wrong first.
    """
    images = one_a_file(images)
    edges, shares = _edges(images), images[CROP[2]] * images[CROP[3]] / (images[WIDTH] * images[HEIGHT])
    found: list[tuple[float, str, str]] = []  # likelihood of a mistake, image, why
    for _, of_modality in images.groupby(MODALITY, sort=False):
        for _, group in of_modality.groupby([WIDTH, HEIGHT], sort=False):
            others, alike = (group, "size") if len(group) >= FEWEST else (of_modality, "modality")
            away = (edges.loc[group.index] - edges.loc[others.index].median()).abs().max(axis=1)
            for at, image, by in zip(group.index, group[IMAGE], group[CROP_BY], strict=True):
                if shares[at] < TINY:
                    found.append((2, image, f"tiny: {shares[at]:.0%} of its screen"))
                elif image in seams:
                    found.append((1, image, "a grey and a coloured side: are they two panes that touch?"))
                elif len(others) >= FEWEST and away[at] > UNLIKE:
                    found.append((away[at], image, f"unlike the others of its {alike}: an edge is {away[at]:.0%} off"))
                elif by == "pane":
                    found.append((0, image, "one of two panes, told apart by their colours: approve it"))
    return {image: why for _, image, why in sorted(found, key=lambda each: -each[0])}


def _edges(images: pd.DataFrame) -> pd.DataFrame:
    """Compute the edges of each box as shares of its screen's sides."""
    x, y, across, down = (images[column] for column in CROP)
    width, height = images[WIDTH], images[HEIGHT]
    return pd.concat([x / width, y / height, (x + across) / width, (y + down) / height], axis=1)
