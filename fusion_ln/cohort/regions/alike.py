"""New pictures, cut and masked as those of the study that a model learnt from."""

from pathlib import Path

import numpy as np

from fusion_ln.cohort.regions.rule import CropRule
from fusion_ln.cohort.regions.text import mask_text
from fusion_ln.decode.picture import is_dicom
from fusion_ln.errors import PictureError
from fusion_ln.records.parts import GIVEN, Preparation

BY_HAND = "Cut the picture out of its screen, save it as PNG, and give that."


def cut_alike(preparation: Preparation | None, path: Path, pixels: np.ndarray, modality: str) -> np.ndarray:
    """Cut a new picture out of its file by the rule of a study, and fill its texts if the study did.

    The rule goes by this picture alone: what all screens of the study's cohort shared is not looked for. A picture that
    its rule cannot cut because somebody cut it already is taken as it is: not a DICOM file (``dicom``), or of the very
    size of the box.

    Args:
        preparation: See `fusion_ln.records.parts.Preparation`; None: pictures are taken whole.
        path: File of the picture.
        pixels: uint8, shape (H, W, 3).
        modality: Of the picture.

    Raises:
        PictureError: If the rule finds no picture in the file.
    """
    if preparation is None:
        return pixels
    rule = CropRule.parse("none" if preparation.crop == GIVEN else preparation.crop)
    is_cut = rule.box is not None and pixels.shape[1::-1] == (rule.box.width, rule.box.height)
    if not is_cut and (rule.method != "dicom" or is_dicom(path)):
        try:
            pixels = rule.find(path, pixels, modality).box.cut(pixels)
        except PictureError as error:
            raise PictureError(error.problem, BY_HAND, "not-cut") from None
    return mask_text(pixels) if preparation.mask_text else pixels
