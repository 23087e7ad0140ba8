"""A picture file (PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM) becomes RGB pixels, or one clear message."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from fusion_ln.decode.bounded import MAX_BYTES, PNG, Bounded, BoundError, quiet_readers, refuse_png_bomb
from fusion_ln.decode.dicom import open_dicom, read_dicom
from fusion_ln.decode.grey import own_range
from fusion_ln.decode.kinds import DICOM, NOT_READ, READ, guess_content, has_dicom_preamble
from fusion_ln.decode.limits import CONVERT, check_frame, check_size, damaged, too_large
from fusion_ln.decode.streams import TOO_MANY_SCANS, has_too_many_scans
from fusion_ln.errors import PictureError

MAX_COUNTING_READS = 70_000  # of a file while its frames are counted: a TIFF takes ten a page, and 0.1 ms
UNCOUNTED = 0  # frames
MAX_PILLOW_READS = 300_000  # of a file by Pillow: four per chunk or segment, two per 255 bytes of a GIF
STRIP = 256  # rows
# Formats that Pillow reads by itself; others would start outside programs (EPS) or are no pictures.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")


def looks_like_picture(path: Path) -> bool:
    """Test for a picture, also of a kind that is not read, by the file's suffix; else by the DICOM preamble.

    DICOM files are named after their number (``1.2.840.7``), so that any ending may follow a dot.
    """
    if path.suffix.lower() in READ | NOT_READ.keys():
        return True
    with suppress(OSError):  # a text that no file can have as its name
        return path.is_file() and has_dicom_preamble(path)
    return False


def read_picture(path: Path, *, frame: int = 0) -> np.ndarray:
    """Decode a picture to RGB.

    EXIF orientation is applied, transparency is laid over black, palette, CMYK, 1-bit and grey pictures become RGB.
    Grey samples deeper than 8 bits are mapped from the picture's own range, as in DICOM without a window: a file does
    not tell how many of its bits are used; deeper colour is refused. DICOM: see `fusion_ln.decode.dicom.read_dicom`.

    Args:
        path: PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM; DICOM is also recognised without the suffix ``.dcm``.
        frame: Which frame of an animation or of a multi-frame DICOM file, counted from 0.

    Returns:
        Pixels, uint8. Shape (H, W, 3).

    Raises:
        PictureError: If the file is missing, empty, truncated, no picture, smaller than 16 pixels a side, larger than
            36 megapixels, has colour deeper than 8 bits, too many scans (JPEG) or no such frame; or a DICOM
            file is met without pydicom.
    """
    if is_dicom(path):
        return read_dicom(path, frame)
    with _open_picture(path) as image:
        if frame:
            check_frame(path, frame, getattr(image, "n_frames", 1))
            image.seek(frame)
        _check_current(path, image)
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(path, image)


def read_frames(path: Path, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames of an animation or of a file of several pages, not of DICOM, in rising order and opened once.

    Yields:
        The number of each, counted from 0, and its pixels as `read_picture` returns them.

    Raises:
        PictureError: As `read_picture`.
    """
    with _open_picture(path) as image:
        for number in sorted(numbers):
            check_frame(path, number, getattr(image, "n_frames", 1))
            image.seek(number)
            _check_current(path, image)
            yield number, _to_rgb(path, ImageOps.exif_transpose(image))


def _check_current(path: Path, image: Image.Image) -> None:
    """Refuse the frame that a file stands at before it is decoded, if it may not be."""
    check_size(path, *image.size)  # a later frame may be larger
    _refuse_deep_colour(path, image)
    _refuse_scans(path, image)


def picture_size(path: Path) -> tuple[int, int]:
    """Read width and height in pixels, as `read_picture` would return them, without decoding pixels.

    Raises:
        PictureError: As `read_picture`, as far as the header tells.
    """
    if is_dicom(path):
        with open_dicom(path) as file:
            return file.width, file.height
    with _open_picture(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap the axes
        width, height = image.size
        return (height, width) if turned else (width, height)


def burned_in_text(path: Path) -> bool | None:
    """Read whether text stands in the pixels of a DICOM file, as it says; None for other kinds, which cannot say it.

    Raises:
        PictureError: As `picture_size`.
    """
    if not is_dicom(path):
        return None
    with open_dicom(path) as file:
        return file.burned_in_text


def count_frames(path: Path) -> int:
    """Count the frames of an animation or of a multi-frame file as `read_n_frames`; 1 where they cannot be read."""
    with suppress(PictureError):
        return read_n_frames(path)
    return 1


def read_n_frames(path: Path) -> int:
    """Read the number of frames of an animation or of a multi-frame file, as its headers tell.

    `UNCOUNTED` of those that take too long to count; 1 of a DICOM file whose number is none.

    Raises:
        PictureError: If they cannot be read.
    """
    if not is_dicom(path):
        with _open_picture(path, MAX_COUNTING_READS) as image:
            with suppress(BoundError):
                return int(getattr(image, "n_frames", 1))
            return UNCOUNTED
    with open_dicom(path) as file, suppress(TypeError, ValueError):
        return int(file.header.get("NumberOfFrames", 1))
    return 1


@contextmanager
def _open_picture(path: Path, max_reads: int | None = None) -> Iterator[Image.Image]:
    """Open a picture that Pillow reads; whatever it raises, then or in the body, becomes one message."""
    quiet_readers()
    refuse_png_bomb(path)
    try:
        with (
            Bounded(path.open("rb"), path, max_reads or MAX_PILLOW_READS) as file,
            Image.open(cast("BinaryIO", file), formats=FORMATS) as image,
        ):
            check_size(path, *image.size)
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(
            f"{path}: {guess_content(path)}, not a picture that is read.", CONVERT, "not-a-picture"
        ) from None
    except Image.DecompressionBombError:
        raise too_large(path, "more than") from None
    except BoundError as error:
        raise PictureError(f"{path}: {error}.", CONVERT, "too-heavy") from None
    except Exception as error:  # Pillow's readers meet damaged files with nearly any exception
        raise damaged(path, error) from None


def _refuse_deep_colour(path: Path, image: Image.Image) -> None:
    """Refuse colour or alpha of more than 8 bits a sample: Pillow keeps the high byte, which may hold next to nothing.

    Deep grey and 32-bit samples are matters of `_to_rgb`.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return
    with path.open("rb") as file:
        start = file.read(25)
    bits = start[24] if start.startswith(PNG) else 8  # of IHDR
    if isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(BITSPERSAMPLE, (1,)))
    if bits > 8:
        raise PictureError(f"{path}: {bits} bits a sample in colour or with alpha; 8 are read.", CONVERT, "too-deep")


def _refuse_scans(path: Path, image: Image.Image) -> None:
    """Refuse a JPEG of countless scans, each of which would be decoded over the whole picture."""
    if not isinstance(image, JpegImageFile):
        return
    with path.open("rb") as file:
        file.seek(image.tile[0].offset)  # of a later picture in the file
        if has_too_many_scans(file.read(MAX_BYTES), image.width * image.height):
            raise PictureError(f"{path}: {TOO_MANY_SCANS}", CONVERT, "too-heavy")


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.repeat(own_range(np.asarray(image))[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise PictureError(
            f"{path}: 32-bit samples, whose range the file does not tell.", "Save it as 8-bit PNG.", "too-deep"
        )
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP):  # whole copies of a large picture would fill the memory
        strip = image.crop((0, top, width, min(top + STRIP, height)))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "black"), strip)
        pixels[top : top + STRIP] = np.asarray(strip.convert("RGB"))
    return pixels


def is_dicom(path: Path) -> bool:
    """Look at the content first: a missing or empty file ends here."""
    try:
        size = path.stat().st_size
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise PictureError(f"{path}: {reason}.", "Check the path, or import the cohort again.") from None
    if not path.is_file():
        raise PictureError(f"{path}: not a file.", "Give the path of a picture.")
    if size == 0:
        raise PictureError(f"{path}: the file is empty (0 bytes).", "Fetch or export the file again.", "empty")
    return path.suffix.lower() in DICOM or has_dicom_preamble(path)
