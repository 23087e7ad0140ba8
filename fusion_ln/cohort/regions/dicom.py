"""Regions that a DICOM file names (SequenceOfUltrasoundRegions, PS3.3 C.8.5.5): tissue, colour flow, their spacing."""

import math
from dataclasses import dataclass
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
    """

    box: Box
    mm_per_pixel: float | None


def read_regions(path: Path) -> list[Region]:
    """Read the regions of tissue of a DICOM file, from left to right; none where it names none.

    Colour flow within tissue is part of it; traces, spectra and bars are no pictures.

    Raises:
        PictureError: If a region is no part of the picture, or two overlap.
    """
    with open_dicom(path) as file:
        width, height, held = file.width, file.height, file.header.get("SequenceOfUltrasoundRegions") or []
    found: list[Region] = []
    try:
        items = [item for item in held if _shows_tissue(item)]
        for item in sorted(items, key=lambda item: int(item.RegionDataType)):  # tissue first
            region = _read(item, width, height)
            if problem := region.box.within(width, height):
                raise PictureError(f"{path}: SequenceOfUltrasoundRegions: {problem}.", WAY_OUT)
            if not any(region.box.common(other.box) >= NESTED * region.box.area for other in found):
                found.append(region)
    except (AttributeError, TypeError, ValueError) as error:
        raise PictureError(f"{path}: SequenceOfUltrasoundRegions is damaged ({error}).", WAY_OUT) from None
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
        Box(left, top, right - left, bottom - top), spacing if in_centimetres and 0 < spacing < math.inf else None
    )
