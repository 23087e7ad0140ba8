"""New pictures, taken from cines, cut and masked as those of the study that a model learnt from."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from fusion_ln.cohort.frames import FrameRule, encode_frame
from fusion_ln.cohort.regions.box import Box
from fusion_ln.cohort.regions.rule import CropRule
from fusion_ln.cohort.regions.screen import has_seam
from fusion_ln.cohort.regions.text import mask_text
from fusion_ln.decode.cine import open_cine
from fusion_ln.decode.picture import UNCOUNTED, count_frames, is_dicom, read_picture
from fusion_ln.errors import PictureError
from fusion_ln.files.hashes import hash_file
from fusion_ln.records.parts import GIVEN, Preparation

BY_HAND = "Cut the picture out of its screen, save it as PNG, and give that."


@dataclass(frozen=True)
class Taken:
    """A picture of a new file.

    Attributes:
        frame: Its number in the file.
        pixels: uint8, shape (H, W, 3).
        sha256: Of the file that a cohort would keep of it.
    """

    frame: int
    pixels: np.ndarray
    sha256: str


def take_alike(preparation: Preparation | None, path: Path, modality: str, frame: int | None = None) -> list[Taken]:
    """Take the pictures of a new file as a study took its own: one, or frames of a cine where it chose among them.

    Args:
        preparation: See `cut_alike`.
        path: Picture, cine or, if the study chose frames, video.
        modality: Of the file.
        frame: Frame to take in place of those that the study would; without such a study None is the first.

    Raises:
        PictureError: If the file cannot be read, holds too few frames, or the study's rule finds no picture in it.
    """
    cine = open_cine(path) if preparation and preparation.frames and frame is None else None
    if cine is None or preparation is None:
        number = frame_alike(preparation, path) if frame is None else frame
        pixels = cut_alike(preparation, path, read_picture(path, frame=number), modality)
        return [Taken(number, pixels, hash_file(path))]
    box = _box_alike(preparation, path, cine.middle(), modality)
    frames = FrameRule.parse(preparation.frames).take(cine, modality, box)
    return [
        Taken(number, _prepare(preparation, whole, box), sha256(encode_frame(whole)).hexdigest())
        for number, whole in frames
    ]


def frame_alike(preparation: Preparation | None, path: Path) -> int:
    """Find the frame of a new file that a study took of each of its own; the first of a still picture.

    Raises:
        PictureError: If the file holds several frames, but not this one.
    """
    frame = (preparation and preparation.frame) or 0
    if frame == 0 or (n_frames := count_frames(path)) == 1:
        return 0
    if n_frames != UNCOUNTED and frame >= n_frames:
        raise PictureError(
            f"{path}: holds {n_frames} frames, counted from 0; the model's study took frame {frame} of each file "
            f"(`--frame {frame}`).",
            "Choose one that the file holds with `--frame N`.",
        )
    return frame


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
    return _prepare(preparation, pixels, _box_alike(preparation, path, pixels, modality))


def _box_alike(preparation: Preparation, path: Path, pixels: np.ndarray, modality: str) -> Box | None:
    """Find the box of a picture by the rule of a study; None: all of it."""
    rule = CropRule.parse("none" if preparation.crop == GIVEN else preparation.crop)
    is_cut = rule.box is not None and pixels.shape[1::-1] == (rule.box.width, rule.box.height)
    if is_cut or (rule.method == "dicom" and not is_dicom(path)):
        return None
    others = preparation.boxes.keys() & {"screen", "whole"}
    try:
        found = rule.find(path, pixels, modality, duals="pane" in preparation.boxes and not others)
    except PictureError as error:
        raise PictureError(error.problem, BY_HAND, "not-cut") from None
    if "pane" in preparation.boxes and found.by in ("screen", "whole") and has_seam(pixels):
        raise PictureError(f"{path}: may be two panes that touch; the study had such screens.", BY_HAND, "not-cut")
    return found.box


def _prepare(preparation: Preparation, pixels: np.ndarray, box: Box | None) -> np.ndarray:
    pixels = box.cut(pixels) if box else pixels
    return mask_text(pixels) if preparation.mask_text else pixels
