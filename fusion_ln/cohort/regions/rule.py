"""Rules by which a picture is cut out of its file: what a file names, what its pixels show, or a box that was given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from fusion_ln.cohort.regions.box import EXPECTED_BOX, Box, parse_box, whole
from fusion_ln.cohort.regions.dicom import WAY_OUT, read_regions, spacing_at
from fusion_ln.cohort.regions.screen import EVEN, LEAST, find_panes, find_part, grey_and_coloured, look_at
from fusion_ln.decode.picture import is_dicom
from fusion_ln.errors import PictureError, SettingsError
from fusion_ln.terms import COLOUR_MODALITIES, KNOWN_MODALITIES

Method = Literal["none", "dicom", "auto", "box"]
# How a box was found: named by the file, one of two panes, the picture part of the screen, that without what the
# screens of a cohort share, given, or nothing was cut.
FoundBy = Literal["dicom", "pane", "screen", "frame", "box", "table", "accepted", "whole"]


@dataclass(frozen=True)
class Found:
    """The part of a file that is a picture.

    Attributes:
        mm_per_pixel: Across, as a DICOM file says; None where nothing says it.
        is_fixed: Somebody looked at it, so that nothing is taken off it.
        cells: Mean grey of each cell of the screen, where it was looked at. uint8, shape (R, C).
    """

    box: Box
    by: FoundBy
    mm_per_pixel: float | None = None
    is_fixed: bool = False
    cells: np.ndarray | None = None


@dataclass(frozen=True)
class CropRule:
    """A rule that cuts a picture out of its file, by itself: no other picture matters.

    Attributes:
        method: ``none``; ``dicom``, the regions that the file names; ``auto``, these or, where it names none, what
            `fusion_ln.cohort.regions.screen` finds; ``box``, one for all.
        box: Of the method ``box``.
    """

    method: Method = "none"
    box: Box | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``auto``, ``dicom``, ``none`` or a box.

        Raises:
            SettingsError: If it is none of them.
        """
        match text.strip():
            case "none" | "dicom" | "auto" as method:
                return cls(method)
        try:
            return cls("box", parse_box(text))
        except ValueError:
            raise SettingsError(
                f"--crop {text!r}: neither `auto`, `dicom` or `none`, nor a box.", f"Expected {EXPECTED_BOX}."
            ) from None

    def __str__(self) -> str:
        return str(self.box) if self.box else self.method

    def find(
        self, path: Path, pixels: np.ndarray, modality: str, *, shared: bool = False, duals: bool = False
    ) -> Found:
        """Find the picture of a modality in a file.

        Args:
            path: The file.
            pixels: All its pixels. uint8, shape (H, W, 3).
            modality: Of two panes, the grey one is B-mode, the coloured one Doppler or elastography.
            shared: The file shows another modality, too, so that it must have two panes.
            duals: Such files have two panes, or were cut to one: panes that touch are parted, too.

        Raises:
            PictureError: If the file names no region although it must, or regions that are none; if the box lies
                outside the picture; if there are not two panes although there must be.
        """
        if self.method == "none":
            return Found(whole(pixels), "whole")
        if self.box:
            return given(path, self.box, pixels, "box")
        if regions := read_regions(path) if is_dicom(path) else []:
            boxes = [region.box for region in regions]
            alone = len(boxes) == 1 and not shared
            box = boxes[0] if alone else _of_modality(path, pixels, boxes, modality)
            return Found(box, "dicom", regions[boxes.index(box)].mm_per_pixel)
        if self.method == "dicom":
            raise PictureError(
                f"{path}: names no region of tissue or colour flow (SequenceOfUltrasoundRegions).",
                f"Find it by its pixels (`--crop auto`). {WAY_OUT}",
            )
        cells = look_at(pixels)
        if panes := find_panes(pixels, cells, stated=shared or duals):
            return Found(_pane_of(path, panes, modality), "pane")
        if shared:
            raise PictureError(f"{path}: stands for two modalities, but {_not_dual(cells.spread)}.", WAY_OUT)
        box = find_part(cells)
        return Found(box, "whole" if box == whole(pixels) else "screen", cells=cells.means)


def given(path: Path, box: Box, pixels: np.ndarray, by: FoundBy) -> Found:
    """Take a box that was given; a DICOM file that names the region around it tells its spacing.

    Raises:
        PictureError: If the box is no part of the picture.
    """
    if problem := box.within(pixels.shape[1], pixels.shape[0]):
        raise PictureError(f"{path}: {problem}.", f"Expected {EXPECTED_BOX}, within the picture.")
    return Found(box, by, spacing_at(path, box) if is_dicom(path) else None)


def _of_modality(path: Path, pixels: np.ndarray, boxes: list[Box], modality: str) -> Box:
    """Choose between the regions of a file."""
    panes = grey_and_coloured(pixels, boxes) if len(boxes) == 2 else None
    if panes is None:
        listed = " and ".join(map(str, boxes))
        raise PictureError(
            f"{path}: names {len(boxes)} region{'s' * (len(boxes) > 1)} of tissue ({listed}); expected one, or a grey "
            "and a coloured one of two modalities.",
            WAY_OUT,
        )
    return _pane_of(path, panes, modality)


def _pane_of(path: Path, panes: tuple[Box, Box], modality: str) -> Box:
    """Choose the pane of a modality: the first is grey, the second coloured."""
    if modality not in KNOWN_MODALITIES:
        raise PictureError(
            f"{path}: shows a grey and a coloured pane, and nothing says which of them {modality} is.", WAY_OUT
        )
    return panes[modality in COLOUR_MODALITIES]


def _not_dual(spread: np.ndarray) -> str:
    """Describe why a screen has no two panes."""
    middle = spread.shape[1] // 2
    textured = [bool((half > EVEN).mean() > LEAST) for half in (spread[:, :middle], spread[:, middle:])]
    if sum(textured) == 1:
        return f"its {'right' if textured[0] else 'left'} half is empty"
    return "no grey and coloured pane of nearly one size lie beside or above each other in it"
