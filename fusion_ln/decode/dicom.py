"""DICOM files: the header within bounds, and one frame as RGB pixels (DICOM PS3.3 C.7.6.3, C.11.1, C.11.2)."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from fusion_ln.decode.limits import CONVERT, check_frame, check_size, damaged
from fusion_ln.errors import PictureError

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = 'Install the DICOM reader with `pip install "fusion_ln[dicom]"`.'
MAX_READS = 60_000  # reads of a file's parser: two per element, so that a million tiny elements end early
MAX_INFLATED = 96 * 2**20  # bytes of a data set in the deflated syntax
CHUNK = 2**20  # bytes
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
JPEG_8_BIT = "1.2.840.10008.1.2.4.50"
VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))  # MPEG-2, MPEG-4, HEVC
# Elements that count only where they hold a value: scanners write them empty.
MAY_BE_EMPTY = (
    "ModalityLUTSequence", "NumberOfFrames", "RescaleIntercept", "RescaleSlope", "VOILUTFunction", "VOILUTSequence",
    "WindowCenter", "WindowWidth",
)  # fmt: skip


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file with its header read.

    Attributes:
        header: All elements before the pixels; without those of `MAY_BE_EMPTY` that are empty.
        syntax: UID of the transfer syntax; the one that the bytes show, where the file does not say.
    """

    path: Path
    source: BinaryIO
    header: "Dataset"
    syntax: str

    @property
    def width(self) -> int:
        return int(self.header.Columns)

    @property
    def height(self) -> int:
        return int(self.header.Rows)

    @property
    def burned_in_text(self) -> bool:
        """True if the file says that text stands in its pixels (BurnedInAnnotation YES)."""
        return str(self.header.get("BurnedInAnnotation", "")).upper() == "YES"


def open_dicom(path: Path) -> DicomFile:
    """Read the header of a DICOM file.

    Files without preamble or file meta are read by what their bytes show. The parser works within bounds of elements
    and of inflated bytes, so that no file holds it for long.

    Raises:
        PictureError: If pydicom is missing, the file holds no picture, breaks a bound, or its size is out of range.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise PictureError(f"{path}: a DICOM file, and pydicom is not installed.", INSTALL) from None
    source = _open_within_bounds(path)
    try:
        header = dcmread(source, stop_before_pixels=True, force=True)
        syntax = _transfer_syntax(header)
        for name in MAY_BE_EMPTY:
            if name in header and header[name].is_empty:
                del header[name]
        file = DicomFile(path, source, header, syntax)
        size = (file.width, file.height)
    except _BoundError as error:
        raise PictureError(f"{path}: {error}.", CONVERT) from None
    except Exception:
        raise PictureError(f"{path}: a DICOM file without a picture (no Rows and Columns).", CONVERT) from None
    check_size(path, *size)
    return file


def read_dicom(path: Path, frame: int) -> np.ndarray:
    """Decode one frame to RGB.

    Monochrome pixels go through the modality table (or slope and intercept) and the VOI table (or window); the whole
    output range becomes 0..255. Deeper than 8 bits and without a window, it is the picture's own range. MONOCHROME1
    is inverted. Colour is scaled by BitsStored; a palette of 8-bit entries in 16-bit words is read as 8-bit; an 8-bit
    JPEG has the colours that its own markers say.

    Returns:
        Pixels, uint8. Shape (H, W, 3).

    Raises:
        PictureError: As `open_dicom`; also for a video, a missing decoder, damaged pixels or a frame that is not there.
    """
    file = open_dicom(path)
    header = file.header
    if file.syntax in VIDEO:
        raise PictureError(f"{path}: a video ({_syntax_name(file)}).", "Export the frame that shows the node as PNG.")
    check_frame(path, frame, int(header.get("NumberOfFrames", 1)))
    photometric = str(header.get("PhotometricInterpretation", ""))
    samples = int(header.get("SamplesPerPixel", 1))
    if samples != (1 if photometric.startswith(("MONOCHROME", "PALETTE")) else 3):
        raise PictureError(
            f"{path}: {photometric or 'no PhotometricInterpretation'} with {samples} samples a pixel.", CONVERT
        )
    try:
        if photometric.startswith("MONOCHROME"):
            return np.repeat(grey_levels(_pixels(file, frame), header)[..., None], 3, axis=2)
        if photometric == "PALETTE COLOR":
            return _palette_colours(_pixels(file, frame), header)
        if file.syntax == JPEG_8_BIT:
            return _jpeg_colours(file, frame)
        pixels = _pixels(file, frame)
        return (pixels >> max(int(header.BitsStored) - 8, 0)).clip(0, 255).astype(np.uint8)
    except PictureError:
        raise
    except _BoundError as error:
        raise PictureError(f"{path}: {error}.", CONVERT) from None
    except Exception as error:  # decoders meet damaged files with nearly any exception
        if "missing dependencies" in str(error):
            raise PictureError(
                f"{path}: no decoder for {_syntax_name(file)}.",
                "Install decoders with `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls`, or "
                "export the file uncompressed.",
            ) from None
        raise damaged(path, error) from None


def grey_levels(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    """Map stored monochrome values to 0..255 through the modality and VOI transformations.

    A window follows PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT) or C.11.2.1.3.1 (SIGMOID); one that is not
    wide enough to show anything is ignored. The first window or table counts.

    Args:
        stored: Stored values. Shape (H, W).
        header: The file's elements; empty ones left out.

    Returns:
        Grey levels, uint8. Shape (H, W).
    """
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    if header.get("VOILUTSequence"):
        values = np.asarray(apply_voi_lut(values.astype(np.int64), header, prefer_lut=True), dtype=np.float64)
        grey = values / (2.0 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif (window := _window(header)) is not None:
        grey = _apply_window(values, *window)
    else:
        low, high = _output_range(header, values)
        grey = (values - low) / ((high - low) or 1)
    grey = np.clip(grey, 0, 1) * 255
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.rint(grey).astype(np.uint8)


def own_range(values: np.ndarray) -> np.ndarray:
    """Map the values between their own extremes to 0..255; a flat picture stays black. Shape kept, uint8."""
    low, high = float(values.min()), float(values.max())
    return np.rint((values.astype(np.float64) - low) / ((high - low) or 1) * 255).astype(np.uint8)


def _window(header: "Dataset") -> tuple[float, float, str] | None:
    """Centre, width and function of the first window, if it can show anything."""
    centres, widths = header.get("WindowCenter"), header.get("WindowWidth")
    if centres is None or widths is None:
        return None
    centre, width = (float(v[0] if hasattr(v, "__len__") else v) for v in (centres, widths))
    function = str(header.get("VOILUTFunction", "LINEAR"))
    return (centre, width, function) if width > (1 if function == "LINEAR" else 0) else None


def _apply_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _output_range(header: "Dataset", values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value that the modality transformation can put out; of deep pixels the picture's own."""
    if header.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    bits = int(header.BitsStored)
    if bits > 8:  # scanners rarely use all the bits that they store
        return float(values.min()), float(values.max())
    signed = bool(header.get("PixelRepresentation", 0))
    ends = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    low, high = sorted(end * slope + intercept for end in ends)
    return low, high


def _palette_colours(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(stored, header)[..., :3]
    bits = int(header.RedPaletteColorLookupTableDescriptor[2])
    tables = [
        np.frombuffer(header[f"{name}PaletteColorLookupTableData"].value, "<u2")
        for name in ("Red", "Green", "Blue")
        if bits > 8 and f"{name}PaletteColorLookupTableData" in header
    ]
    narrow = bits <= 8 or (tables and max(int(table.max(initial=0)) for table in tables) < 256)
    return (colours if narrow else colours >> 8).astype(np.uint8)


def _jpeg_colours(file: DicomFile, frame: int) -> np.ndarray:
    """Let the stream say whether it holds RGB or YCbCr (JFIF and Adobe markers), not the element beside it."""
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    file.source.seek(0)
    pixels = dcmread(file.source, force=True).PixelData
    stream = get_frame(pixels, frame, number_of_frames=int(file.header.get("NumberOfFrames", 1)))
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
        if image.size != (file.width, file.height):
            raise PictureError(f"{file.path}: {image.size} pixels in a frame of {file.width} x {file.height}.", CONVERT)
        return np.array(image.convert("RGB"))


def _pixels(file: DicomFile, frame: int) -> np.ndarray:
    """Decode the stored values of a frame; YBR becomes RGB. Shape (H, W) or (H, W, 3)."""
    from pydicom.pixels.utils import pixel_array

    file.source.seek(0)
    return pixel_array(file.source, index=frame, transfer_syntax_uid=file.syntax)


def _transfer_syntax(header: "Dataset") -> str:
    if declared := header.file_meta.get("TransferSyntaxUID"):
        return str(declared)
    implicit, little = header.original_encoding
    return IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN


def _syntax_name(file: DicomFile) -> str:
    from pydicom.uid import UID

    return UID(file.syntax).name


class _BoundError(Exception):
    """A file breaks a bound of reading."""


class _BoundedFile(io.FileIO):
    """A file that is read at most `MAX_READS` times."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise _BoundError(f"more than {MAX_READS // 2} elements or fragments")
        return super().read(-1 if size is None else size) or b""


class _BoundedBytes(io.BytesIO):
    """Bytes in memory that are read at most `MAX_READS` times."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise _BoundError(f"more than {MAX_READS // 2} elements or fragments")
        return super().read(size)


def _open_within_bounds(path: Path) -> BinaryIO:
    """Open the file; one in the deflated syntax is inflated here, up to `MAX_INFLATED`, and read as explicit VR."""
    with path.open("rb") as file:
        start = file.read(CHUNK)
        at = start.find(DEFLATED.encode(), 0, 2048)
        if start[128:132] != b"DICM" or at < 0:
            return _BoundedFile(path)
        length = int.from_bytes(start[140:144], "little")  # FileMetaInformationGroupLength
        head = start[: 144 + length].replace(DEFLATED.encode(), EXPLICIT.encode().ljust(len(DEFLATED), b"\0"))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        body, packed = bytearray(head), start[144 + length :]
        while packed:
            try:
                body += inflate.decompress(packed, MAX_INFLATED + 1 - len(body))
            except zlib.error as error:
                raise damaged(path, error) from None
            if len(body) > MAX_INFLATED:
                raise PictureError(f"{path}: inflates to more than {MAX_INFLATED // 2**20} MiB.", CONVERT)
            packed = inflate.unconsumed_tail or file.read(CHUNK)
    return _BoundedBytes(body)
