"""Boxes of pictures that should be looked at: unlike the others, tiny, or one of two panes."""

import numpy as np
import pandas as pd

from fusion_ln.terms import CINE, CROP, CROP_BY, HEIGHT, IMAGE, MODALITY, PATH, WIDTH

FEWEST = 5  # pictures of one modality and size that a box is compared with
TINY = 0.2  # of the screen
UNLIKE = 0.1  # of the screen's side, between an edge of a box and the median of the others'


def one_a_file(images: pd.DataFrame) -> pd.DataFrame:
    """Take the first picture of each file and modality: the frames of a cine have one box."""
    if CINE not in images:
        return images
    files = images[CINE].where(images[CINE] != "", images[PATH])
    return images.assign(**{PATH: files}).drop_duplicates([PATH, MODALITY])


def odd_boxes(images: pd.DataFrame) -> dict[str, str]:
    """Find the boxes to be looked at in a cropped cohort's table of pictures.

    Returns:
        By image, why; those that are most likely wrong first.
    """
    found: list[tuple[float, str, str]] = []  # likelihood of a mistake, image, why
    for _, group in one_a_file(images).groupby([MODALITY, WIDTH, HEIGHT], sort=False):
        width, height = group[WIDTH].iloc[0], group[HEIGHT].iloc[0]
        x, y, across, down = (group[column].to_numpy() for column in CROP)
        edges = np.stack([x / width, y / height, (x + across) / width, (y + down) / height], axis=1)
        away = np.abs(edges - np.median(edges, axis=0)).max(axis=1)
        shares = across * down / (width * height)
        for image, by, distance, share in zip(group[IMAGE], group[CROP_BY], away, shares, strict=True):
            if share < TINY:
                found.append((2, image, f"tiny: {share:.0%} of its screen"))
            elif len(group) >= FEWEST and distance > UNLIKE:
                found.append((distance, image, f"unlike the others of its size: an edge is {distance:.0%} off"))
            elif by == "pane":
                found.append((0, image, "one of two panes, told apart by their colours: approve it"))
    return {image: why for _, image, why in sorted(found, key=lambda each: -each[0])}
