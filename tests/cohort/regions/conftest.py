import numpy as np
import pytest
from PIL import Image, ImageFilter


@pytest.fixture
def dual(rng):
    """Make a screen of two panes, 90 x 100 each: grey at 5, 10; with a strain box at 105, 10."""

    def make(path=None, *, right="strain"):
        pixels = np.zeros((120, 200, 3), dtype=np.uint8)
        for left in (5, 105):
            if left == 5 or right:
                pixels[10:110, left : left + 90] = rng.rayleigh(60, (100, 90, 1)).clip(0, 255)
        if right == "strain":
            pixels[30:90, 120:180, 0] = 255
        if path:
            Image.fromarray(pixels).save(path)
        return pixels

    return make


@pytest.fixture
def place_panes(dual):
    """Draw the panes of a dual screen beside each other, with speckle as broad as a scanner's."""

    def place(path, gap):
        pixels = dual()
        screen = np.zeros((120, 190 + gap, 3), dtype=np.uint8)
        for x, left in ((5, 5), (95 + gap, 105)):
            pane = Image.fromarray(pixels[10:110, left : left + 90]).filter(ImageFilter.GaussianBlur(1.2))
            screen[10:110, x : x + 90] = pane
        Image.fromarray(screen).save(path)
        return screen

    return place


@pytest.fixture
def scan(tmp_path):
    """Write a DICOM file with pixels and ultrasound regions: type, left, top, right and bottom of each."""
    pydicom = pytest.importorskip("pydicom")

    def write(pixels, *regions, name="a.dcm", cm=0.0125, **elements):
        from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

        header = pydicom.Dataset()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = UltrasoundImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
        header.Rows, header.Columns = pixels.shape[:2]
        header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
        header.BitsAllocated = header.BitsStored = 8
        header.HighBit, header.PixelRepresentation = 7, 0
        header.SequenceOfUltrasoundRegions = [_region(pydicom, cm, *region) for region in regions]
        for tag, value in elements.items():
            setattr(header, tag, value)
        header.PixelData = pixels.tobytes()
        path = tmp_path / name
        header.save_as(path, enforce_file_format=True)
        return path

    return write


def _region(pydicom, cm, kind, left, top, right, bottom):
    item = pydicom.Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, kind
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection, item.PhysicalDeltaX = 3, cm
    return item
