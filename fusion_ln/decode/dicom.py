"""DICOM files: the header within bounds, and one frame as RGB pixels (DICOM PS3.3 C.7.6.3, C.11.1, C.11.2)."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, cast

import numpy as np
from PIL import Image

from fusion_ln.decode.bounded import Bounded, BoundError, quiet_readers
from fusion_ln.decode.grey import grey_levels
from fusion_ln.decode.limits import CONVERT, check_frame, check_size, damaged
from fusion_ln.decode.streams import TOO_MANY_SCANS, has_too_many_scans, n_tiles, stream_size
from fusion_ln.errors import PictureError, pip_install

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL_DICOM = f"Install the DICOM reader with {pip_install('dicom')}."
MAX_DICOM_READS = 60_000  # reads of a file's parser: two per element, so that a million tiny elements end early
MAX_INFLATED = 96 * 2**20  # bytes of a data set in the deflated syntax
CHUNK = 2**20  # bytes
MAX_TILES = 4096  # of a JPEG 2000 stream
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_8_BIT = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (51, 57, 70))  # and the extended one, of 12 bits
JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (80, 81))
JPEG_2000_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))  # MPEG-2, MPEG-4, HEVC
COLOUR_SPACES = ("RGB", "YBR_FULL", "YBR_FULL_422")
COLOUR_SPACES_OF_JPEG_2000 = (*COLOUR_SPACES, "YBR_RCT", "YBR_ICT")
PHOTOMETRIC = {  # the standard's defined terms, retired ones included
    *COLOUR_SPACES_OF_JPEG_2000, "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "YBR_PARTIAL_420", "YBR_PARTIAL_422",
    "XYB", "HSV", "ARGB", "CMYK",
}  # fmt: skip
# Elements that count only where they hold a value: scanners write them empty.
MAY_BE_EMPTY = (
    "ModalityLUTSequence", "NumberOfFrames", "PixelPaddingRangeLimit", "PixelPaddingValue", "RescaleIntercept",
    "RescaleSlope", "VOILUTFunction", "VOILUTSequence", "WindowCenter", "WindowWidth",
)  # fmt: skip


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file with its header read.

    Attributes:
        header: All elements before the pixels; without those of `MAY_BE_EMPTY` that are empty.
        syntax: UID of the transfer syntax; the one that the bytes show, where the file does not say.
        pixels_at: Place of the pixels' element in ``source``.
    """

    path: Path
    source: Bounded
    header: "Dataset"
    syntax: str
    pixels_at: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

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
        raise PictureError(
            f"{path}: a DICOM file, and pydicom is not installed.", INSTALL_DICOM, "no-decoder"
        ) from None
    quiet_readers()
    source = _open_within_bounds(path)
    try:
        header = dcmread(source, stop_before_pixels=True, force=True)
        pixels_at = source.tell()
        syntax = _transfer_syntax(header)
        for name in MAY_BE_EMPTY:
            if name in header and header[name].is_empty:
                del header[name]
        file = DicomFile(path, source, header, syntax, pixels_at)
        check_size(path, file.width, file.height)
    except PictureError:
        source.close()
        raise
    except BoundError as error:
        source.close()
        raise PictureError(f"{path}: {error}.", CONVERT, "too-heavy") from None
    except Exception:
        source.close()
        raise PictureError(
            f"{path}: a DICOM file without a picture (no Rows and Columns).", CONVERT, "not-a-picture"
        ) from None
    return file


def read_dicom(path: Path, frame: int) -> np.ndarray:
    """Decode one frame to RGB.

    Monochrome pixels go through the modality table (or slope and intercept) and the VOI table (or window); the whole
    output range becomes 0..255. Deeper than 8 bits and without a window, it is the picture's own range, padding left
    out. MONOCHROME1
    is inverted. Colour is scaled by BitsStored; a palette of 8-bit entries in 16-bit words is read as 8-bit; an 8-bit
    JPEG has the colours that its own markers say.

    Returns:
        Pixels, uint8. Shape (H, W, 3).

    Raises:
        PictureError: As `open_dicom`; also for a video, another colour space, a missing decoder, damaged pixels or a
            frame that is not there.
    """
    with open_dicom(path) as file:
        try:
            return _read_frame(file, frame)
        except PictureError:
            raise
        except BoundError as error:
            raise PictureError(f"{path}: {error}.", CONVERT, "too-heavy") from None
        except Exception as error:  # decoders meet damaged files with nearly any exception
            if _lacks_decoder(error):
                raise PictureError(
                    f"{path}: no decoder for {_syntax_name(file)}.", _decoder_of(file.syntax), "no-decoder"
                ) from None
            raise damaged(path, error) from None


def read_video_stream(path: Path) -> bytes | None:
    """Read the stream of a DICOM file whose pixels are one video (MPEG-2, MPEG-4, HEVC); None of another DICOM file.

    Raises:
        PictureError: As `open_dicom`; also if it is damaged.
    """
    with open_dicom(path) as file:
        try:
            return _stream(file, 0, 1) if file.syntax in VIDEO else None
        except Exception as error:  # damaged items are met with nearly any exception
            raise damaged(path, error) from None


def _read_frame(file: DicomFile, frame: int) -> np.ndarray:
    path, header = file.path, file.header
    if file.syntax in VIDEO:
        raise PictureError(
            f"{path}: a video ({_syntax_name(file)}).", "Export the frame that shows the node as PNG.", "video"
        )
    check_frame(path, frame, int(header.get("NumberOfFrames", 1)))
    photometric = str(header.get("PhotometricInterpretation", ""))
    samples = int(header.get("SamplesPerPixel", 1))
    if samples != (1 if photometric.startswith(("MONOCHROME", "PALETTE")) else 3):
        raise PictureError(f"{path}: {_colours_named(photometric)} with {samples} samples a pixel.", CONVERT, "colours")
    if photometric.startswith("MONOCHROME"):
        return np.repeat(grey_levels(_pixels(file, frame), header)[..., None], 3, axis=2)
    if photometric == "PALETTE COLOR":
        return _palette_colours(_pixels(file, frame), header)
    if file.syntax == JPEG_8_BIT:
        return _jpeg_colours(file, frame)
    known = COLOUR_SPACES_OF_JPEG_2000 if file.syntax in JPEG_2000_SYNTAXES else COLOUR_SPACES
    if photometric not in known:
        raise PictureError(
            f"{path}: its colours are of {_colours_named(photometric)}; {', '.join(known)} are read.",
            CONVERT,
            "colours",
        )
    pixels, bits = _pixels(file, frame), int(header.BitsStored)
    if bits < 8:
        pixels = np.rint(pixels.clip(0, 2**bits - 1) * (255 / (2**bits - 1)))
        return np.asarray(pixels, dtype=np.uint8)
    return np.asarray((pixels >> (bits - 8)).clip(0, 255), dtype=np.uint8)


def _colours_named(photometric: str) -> str:
    """Name a PhotometricInterpretation; any other text in its place may be about the patient."""
    if photometric in PHOTOMETRIC:
        return photometric
    return f"{'an unknown' if photometric else 'no'} PhotometricInterpretation"


def _lacks_decoder(error: Exception) -> bool:
    """Test whether nothing that is installed could decode the file, whatever its state."""
    if isinstance(error, NotImplementedError) or "missing dependencies" in str(error):
        return True
    by_decoder = str(error).splitlines()[1:]
    return bool(by_decoder) and all("does not support" in line for line in by_decoder)


def _decoder_of(syntax: str) -> str:
    """Name the package that decodes a syntax."""
    if syntax in JPEG_2000_SYNTAXES or syntax in JPEG_LS:
        return f"{INSTALL_DICOM} It brings decoders of JPEG 2000 and JPEG-LS."
    if syntax in JPEG_LOSSLESS:
        return (
            "Install one with `pip install python-gdcm` (Apache-2.0), or `pip install pylibjpeg pylibjpeg-libjpeg`, "
            "which knows 12 bits as well but is under the GPL-3.0, so that it does not come with fusion_ln."
        )
    return "Export the file uncompressed (Explicit VR Little Endian), or as PNG."


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
    stream = _compressed_frame(file, frame)
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
        return np.array(image.convert("RGB"))


def _compressed_frame(file: DicomFile, frame: int) -> bytes:
    """Read the stream of a frame; one that does not state the header's size is refused before a decoder obeys it."""
    stream = _stream(file, frame, int(file.header.get("NumberOfFrames", 1)))
    size = stream_size(stream)
    if size not in (None, (file.width, file.height)) or n_tiles(stream) > MAX_TILES:
        raise PictureError(
            f"{file.path}: its compressed stream is of another size than its header's {file.width} x {file.height}.",
            CONVERT,
            "damaged",
        )
    if has_too_many_scans(stream, file.width * file.height):
        raise PictureError(f"{file.path}: {TOO_MANY_SCANS}", CONVERT, "too-heavy")
    return stream


def _stream(file: DicomFile, frame: int, n_frames: int) -> bytes:
    from pydicom.encaps import get_frame

    file.source.seek(file.pixels_at)
    explicit = file.source.read(6)[4:].isalpha()  # OB or OW; then the length has four bytes of its own
    file.source.seek(file.pixels_at + (12 if explicit else 8))
    return get_frame(file.source, frame, number_of_frames=n_frames)


def _pixels(file: DicomFile, frame: int) -> np.ndarray:
    """Decode the stored values of a frame; YBR becomes RGB. Shape (H, W) or (H, W, 3)."""
    from pydicom.pixels.utils import pixel_array

    if file.syntax in (JPEG_8_BIT, *JPEG_LOSSLESS, *JPEG_LS, *JPEG_2000_SYNTAXES):
        _compressed_frame(file, frame)
    file.source.seek(0)
    # Of pylibjpeg-rle, which may be installed, damaged bytes end the process (a panic of Rust is no Exception).
    decoder = "pydicom" if file.syntax == RLE else ""
    return pixel_array(
        cast("BinaryIO", file.source), index=frame, transfer_syntax_uid=file.syntax, decoding_plugin=decoder
    )


def _transfer_syntax(header: "Dataset") -> str:
    if declared := header.file_meta.get("TransferSyntaxUID"):
        return str(declared)
    implicit, little = header.original_encoding
    return IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN


def _syntax_name(file: DicomFile) -> str:
    from pydicom.uid import UID

    return UID(file.syntax).name


def _open_within_bounds(path: Path) -> Bounded:
    """Open the file; one in the deflated syntax is inflated here, up to `MAX_INFLATED`, and read as explicit VR."""
    with path.open("rb") as file:
        start = file.read(CHUNK)
        at = start.find(DEFLATED.encode(), 0, 2048)
        if start[128:132] != b"DICM" or at < 0:
            return Bounded(path.open("rb", buffering=0), path, MAX_DICOM_READS)
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
                raise PictureError(f"{path}: inflates to more than {MAX_INFLATED // 2**20} MiB.", CONVERT, "too-heavy")
            packed = inflate.unconsumed_tail or file.read(CHUNK)
    return Bounded(io.BytesIO(body), path, MAX_DICOM_READS)
