"""A picture file (PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM) becomes RGB pixels, or one clear message."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fusion_ln.errors import PictureError

if TYPE_CHECKING:
    from pydicom import Dataset

# Formats that Pillow reads by itself; others would start outside programs (EPS) or are no pictures.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".dcm"})
MIN_SIDE = 16  # pixels
MAX_PIXELS = 100_000_000  # width x height; a decompression bomb is refused from its header
CONVERT = "Open it in a viewer; if it shows a picture there, save it as 8-bit PNG. Else fetch the file again."
SHRINK = "Save it smaller (an ultrasound picture has about one), or leave it out."
INSTALL_DICOM = 'Install the DICOM reader with `pip install "fusion_ln[dicom]"`.'

# Pillow warns of bombs at a limit of its own, thread-unsafely; `_check_size` refuses them instead.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def looks_like_picture(path: Path) -> bool:
    """Should this file be a picture? By its suffix; a file without one, by the DICOM preamble."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    return path.is_file() and _has_dicom_preamble(path)


def read_picture(path: Path, *, frame: int = 0) -> np.ndarray:
    """Decode a picture to RGB.

    EXIF orientation is applied, transparency is laid over black, palette, CMYK, 1-bit and grey pictures become RGB. Of
    16-bit samples the upper 8 bits are kept, so brightness stays comparable between pictures. Monochrome DICOM goes
    through its modality and VOI tables (window or LUT), then their whole output range is mapped to 0..255; deeper than
    8 bits and without a window, it is the picture's own range. MONOCHROME1 is inverted.

    Args:
        path: PNG, JPEG, GIF, BMP, TIFF, WebP or DICOM; DICOM is also recognised without the suffix ``.dcm``.
        frame: Which frame of an animation or of a multi-frame DICOM file, counted from 0.

    Returns:
        Pixels, uint8. Shape (H, W, 3).

    Raises:
        PictureError: If the file is missing, empty, truncated, no picture, smaller than 16 pixels a side, larger than
            100 megapixels, or has no such frame; or a DICOM file is met without pydicom.
    """
    if _is_dicom(path):
        return _read_dicom(path, frame)
    with _open_picture(path) as image:
        try:
            _check_frame(path, frame, getattr(image, "n_frames", 1))
            image.seek(frame)
            return _to_rgb(path, ImageOps.exif_transpose(image))
        except PictureError:
            raise
        except Exception as error:  # Pillow's readers meet damaged files with nearly any exception
            raise _damaged(path, error) from None


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as `read_picture` would return them, without decoding pixels.

    Raises:
        PictureError: As `read_picture`, as far as the header tells.
    """
    if _is_dicom(path):
        header = _read_dicom_header(path)
        return int(header.Columns), int(header.Rows)
    with _open_picture(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap the axes
        width, height = image.size
        return (height, width) if turned else (width, height)


def _open_picture(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(f"{path}: {_what_it_holds(path)}, not a picture.", CONVERT) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path}: more than {MAX_PIXELS // 10**6} megapixels.", SHRINK) from None
    except Exception as error:
        raise _damaged(path, error) from None
    try:
        _check_size(path, *image.size)
    except PictureError:
        image.close()
        raise
    return image


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
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


def _read_dicom_header(path: Path) -> "Dataset":
    try:
        from pydicom import dcmread
    except ImportError:
        raise PictureError(f"{path}: a DICOM file, and pydicom is not installed.", INSTALL_DICOM) from None
    try:
        # Some scanners leave the preamble out: `.dcm` is taken at its word.
        header = dcmread(path, stop_before_pixels=True, force=True)
        width, height = int(header.Columns), int(header.Rows)
    except Exception:
        raise PictureError(f"{path}: a DICOM file without a picture (no Rows and Columns).", CONVERT) from None
    _check_size(path, width, height)
    return header


def _read_dicom(path: Path, frame: int) -> np.ndarray:
    header = _read_dicom_header(path)
    _check_frame(path, frame, int(header.get("NumberOfFrames") or 1))
    from pydicom.pixels.utils import pixel_array

    try:
        pixels = pixel_array(path, index=frame)  # YBR becomes RGB here
        if header.PhotometricInterpretation.startswith("MONOCHROME"):
            return np.repeat(_dicom_grey(pixels, header)[..., None], 3, axis=2)
        if header.PhotometricInterpretation == "PALETTE COLOR":
            from pydicom.pixels.processing import apply_color_lut

            pixels = apply_color_lut(pixels, header)[..., :3]
        return (pixels >> 8 * (pixels.itemsize - 1)).astype(np.uint8)
    except Exception as error:  # pydicom's decoders meet damaged files with nearly any exception
        if "missing dependencies" in str(error):
            compression = header.file_meta.TransferSyntaxUID.name
            raise PictureError(f"{path}: no decoder for {compression}.", "Export it uncompressed.") from None
        raise _damaged(path, error) from None


def _dicom_grey(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    """Apply the modality and VOI tables (DICOM PS3.3 C.11.1, C.11.2), then map their output range to 0..255."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_voi_lut(apply_modality_lut(stored, header), header).astype(np.float64)
    low, high = _dicom_range(header, values)
    grey = np.clip((values - low) / max(high - low, 1), 0, 1) * 255
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.rint(grey).astype(np.uint8)


def _dicom_range(header: "Dataset", values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value that the tables can put out; without a window, that deep pixels do show."""
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if sequence := header.get(table):
            return 0.0, 2.0 ** int(sequence[0].LUTDescriptor[2]) - 1
    bits = int(header.BitsStored)
    if bits > 8 and "WindowWidth" not in header:  # scanners rarely use all the bits that they store
        return float(values.min()), float(values.max())
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if header.PixelRepresentation else (0.0, 2.0**bits - 1)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"{path}: {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels.", SHRINK)
    if min(width, height) < MIN_SIDE:
        raise PictureError(f"{path}: {width} x {height} pixels; at least {MIN_SIDE} a side are needed.", CONVERT)


def _check_frame(path: Path, frame: int, n_frames: int) -> None:
    if not 0 <= frame < n_frames:
        raise PictureError(
            f"{path}: frame {frame} was asked for; it holds {n_frames} (counted from 0).", "Choose another `--frame`."
        )


def _damaged(path: Path, error: Exception) -> PictureError:
    reason = (str(error).splitlines() or [type(error).__name__])[-1].strip(" .:")
    return PictureError(f"{path}: truncated or damaged ({reason}).", CONVERT)


def _what_it_holds(path: Path) -> str:
    """A guess that helps: people rename files."""
    with path.open("rb") as file:
        start = file.read(512)
    try:
        return "holds text" if start.decode().isprintable() or start.decode().split() else "holds other data"
    except UnicodeDecodeError:
        return "holds other data"
