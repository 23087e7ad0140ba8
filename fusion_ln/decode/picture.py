"""A picture file (PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM) becomes RGB pixels, or one clear message."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fusion_ln.decode.dicom import open_dicom, own_range, read_dicom
from fusion_ln.decode.limits import CONVERT, check_frame, check_size, damaged, too_large
from fusion_ln.errors import PictureError

# Formats that Pillow reads by itself; others would start outside programs (EPS) or are no pictures.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".dcm"})

# Pillow warns of bombs at a limit of its own, thread-unsafely; `_check_size` refuses them instead.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def looks_like_picture(path: Path) -> bool:
    """Test for a picture by the file's suffix; without one, by the DICOM preamble."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with suppress(OSError):  # a text that no file can have as its name
        return path.is_file() and _has_dicom_preamble(path)
    return False


def read_picture(path: Path, *, frame: int = 0) -> np.ndarray:
    """Decode a picture to RGB.

    EXIF orientation is applied, transparency is laid over black, palette, CMYK, 1-bit and grey pictures become RGB.
    Grey samples deeper than 8 bits are mapped from the picture's own range, as in DICOM without a window: a file does
    not tell how many of its bits are used. DICOM: see `fusion_ln.decode.dicom.read_dicom`.

    Args:
        path: PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM; DICOM is also recognised without the suffix ``.dcm``.
        frame: Which frame of an animation or of a multi-frame DICOM file, counted from 0.

    Returns:
        Pixels, uint8. Shape (H, W, 3).

    Raises:
        PictureError: If the file is missing, empty, truncated, no picture, smaller than 16 pixels a side, larger than
            36 megapixels, or has no such frame; or a DICOM file is met without pydicom.
    """
    if _is_dicom(path):
        return read_dicom(path, frame)
    with _open_picture(path) as image:
        try:
            check_frame(path, frame, getattr(image, "n_frames", 1))
            image.seek(frame)
            return _to_rgb(path, ImageOps.exif_transpose(image))
        except PictureError:
            raise
        except Exception as error:  # Pillow's readers meet damaged files with nearly any exception
            raise damaged(path, error) from None


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as `read_picture` would return them, without decoding pixels.

    Raises:
        PictureError: As `read_picture`, as far as the header tells.
    """
    if _is_dicom(path):
        file = open_dicom(path)
        return file.width, file.height
    with _open_picture(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap the axes
        width, height = image.size
        return (height, width) if turned else (width, height)


def _open_picture(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(f"{path}: {_guess_content(path)}, not a picture.", CONVERT) from None
    except Image.DecompressionBombError:
        raise too_large(path, "more than") from None
    except Exception as error:
        raise damaged(path, error) from None
    try:
        check_size(path, *image.size)
    except PictureError:
        image.close()
        raise
    return image


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.repeat(own_range(np.asarray(image))[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise PictureError(f"{path}: 32-bit samples, whose range the file does not tell.", "Save it as 8-bit PNG.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return np.array(image.convert("RGB"))


def _is_dicom(path: Path) -> bool:
    """Look at the content first: a missing or empty file ends here."""
    try:
        size = path.stat().st_size
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise PictureError(f"{path}: {reason}.", "Check the path, or import the cohort again.") from None
    if not path.is_file():
        raise PictureError(f"{path}: not a file.", "Give the path of a picture.")
    if size == 0:
        raise PictureError(f"{path}: the file is empty (0 bytes).", "Fetch or export the file again.")
    return path.suffix.lower() == ".dcm" or _has_dicom_preamble(path)


def _has_dicom_preamble(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}).", "Check the file's permissions.") from None


def _guess_content(path: Path) -> str:
    """Guess the content of a file that is no picture: people rename files."""
    with path.open("rb") as file:
        start = file.read(512)
    try:
        return "holds text" if start.decode().isprintable() or start.decode().split() else "holds other data"
    except UnicodeDecodeError:
        return "holds other data"
