"""Regions that a DICOM file names (SequenceOfUltrasoundRegions, PS3.3 C.8.5.5): tissue, colour flow, their spacing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_ln.cohort.regions.box import Box
from fusion_ln.decode.dicom import open_dicom
from fusion_ln.errors import PictureError

if TYPE_CHECKING:
    from pydicom import Dataset

TISSUE, COLOUR_FLOW = 1, 2  # RegionDataType
TWO_DIMENSIONS = 1  # RegionSpatialFormat
CENTIMETRES = 3  # PhysicalUnits
NESTED = 0.9  # least share of a colour box that lies in the tissue around it
WAY_OUT = (
    "Give its box in the table (column `box` or `box:MODALITY`) or with `--accept FILE`, or leave it out "
    "(`--leave-out PATH`)."
)


@dataclass(frozen=True)
class Region:
    """A part of a DICOM picture that shows tissue.

    Attributes:
        mm_per_pixel: Across; None where the file does not say it in centimetres.
        is_tissue: It is no colour flow alone.
    """

    box: Box
    mm_per_pixel: float | None
    is_tissue: bool


def read_regions(path: Path) -> list[Region]:
    """Read the regions of tissue of a DICOM file, from left to right; none where it names none.

    Colour flow within tissue is part of it; a region that holds two others side by side, one of them tissue, is their
    screen; traces, spectra and bars are no pictures.

    Raises:
        PictureError: If a region is no part of the picture, or two overlap.
    """
    with open_dicom(path) as file:
        width, height, held = file.width, file.height, file.header.get("SequenceOfUltrasoundRegions") or []
    try:
        read = [_read(item, width, height) for item in held if _shows_tissue(item)]
        for region in read:
            if problem := _swapped(region.box) or region.box.within(width, height):
                raise PictureError(f"{path}: SequenceOfUltrasoundRegions: {problem}.", WAY_OUT)
    except (AttributeError, TypeError, ValueError) as error:
        raise PictureError(f"{path}: SequenceOfUltrasoundRegions is damaged ({error}).", WAY_OUT) from None
    found: list[Region] = []
    for region in sorted(read, key=lambda region: (not region.is_tissue, -region.box.area)):
        if not _is_screen(region, read) and not any(_lies_in(region, other) for other in found):
            found.append(region)
    for number, region in enumerate(found):
        for other in found[:number]:
            if region.box.common(other.box):
                raise PictureError(
                    f"{path}: SequenceOfUltrasoundRegions: regions {other.box} and {region.box} overlap.", WAY_OUT
                )
    return sorted(found, key=lambda region: region.box.x)


def spacing_at(path: Path, box: Box) -> float | None:
    """Read the millimetres per pixel of the region that a box lies in; None where no sound region says them."""
    try:
        regions = read_regions(path)
    except PictureError:
        return None
    around = [region for region in regions if region.box.common(box) >= NESTED * box.area]
    return around[0].mm_per_pixel if around else None


def _shows_tissue(item: "Dataset") -> bool:
    kind = int(item.get("RegionDataType") or 0)
    return kind in (TISSUE, COLOUR_FLOW) and int(item.get("RegionSpatialFormat") or TWO_DIMENSIONS) == TWO_DIMENSIONS


def _read(item: "Dataset", width: int, height: int) -> Region:
    """Read a region; its last column and row are in it, but scanners write the first ones beyond it, too."""
    left, top = int(item.RegionLocationMinX0), int(item.RegionLocationMinY0)
    right, bottom = int(item.RegionLocationMaxX1) + 1, int(item.RegionLocationMaxY1) + 1
    right, bottom = (size if edge == size + 1 else edge for edge, size in ((right, width), (bottom, height)))
    spacing = abs(float(item.get("PhysicalDeltaX") or 0)) * 10
    in_centimetres = int(item.get("PhysicalUnitsXDirection") or 0) == CENTIMETRES
    return Region(
        Box(left, top, right - left, bottom - top),
        spacing if in_centimetres and 0 < spacing < math.inf else None,
        int(item.RegionDataType) == TISSUE,
    )


def _swapped(box: Box) -> str:
    """Describe a region whose last corner lies before its first; empty where it does not."""
    if box.width > 0 and box.height > 0:
        return ""
    return f"the last corner {box.right - 1},{box.bottom - 1} of a region lies before its first, {box.x},{box.y}"


def _lies_in(region: Region, other: Region) -> bool:
    return region.box.common(other.box) >= NESTED * region.box.area


def _is_screen(region: Region, regions: Sequence[Region]) -> bool:
    """Test for a region that holds two others which do not touch the same pixels, one of them tissue."""
    held = [
        other for other in regions
        if other is not region and other.box.area < region.box.area and _lies_in(other, region)
    ]  # fmt: skip
    pairs = combinations(held, 2)
    return any((one.is_tissue or two.is_tissue) and not one.box.common(two.box) for one, two in pairs)
