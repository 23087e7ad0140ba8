"""Kinds of picture files by suffix and first bytes: those that are read, and those that are named and refused."""

from pathlib import Path

from fusion_ln.errors import PictureError

VIDEO = "a video"
DICOM = frozenset({".dcm", ".dicom", ".ima"})
READ = DICOM | {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# Pictures that Pillow reads not at all, only with a plug-in, or by starting an outside program.
NOT_READ = {
    ".avif": "AVIF", ".eps": "PostScript", ".heic": "HEIC", ".heif": "HEIC", ".ico": "an icon",
    ".j2c": "JPEG 2000", ".j2k": "JPEG 2000", ".jp2": "JPEG 2000", ".jpf": "JPEG 2000", ".jpx": "JPEG 2000",
    ".jls": "JPEG-LS", ".jxl": "JPEG XL", ".mha": "MetaImage", ".mhd": "MetaImage", ".nii": "NIfTI", ".nrrd": "NRRD",
    ".pbm": "Netpbm", ".pdf": "PDF", ".pgm": "Netpbm", ".pnm": "Netpbm", ".ppm": "Netpbm", ".psd": "Photoshop",
    ".svg": "SVG", ".tga": "Targa",
    ".avi": VIDEO, ".flv": VIDEO, ".m4v": VIDEO, ".mkv": VIDEO, ".mov": VIDEO, ".mp4": VIDEO,
    ".mpeg": VIDEO, ".mpg": VIDEO, ".webm": VIDEO, ".wmv": VIDEO,
}  # fmt: skip
# Place and bytes that tell a kind, whatever the suffix says.
SIGNATURES = (
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftyp", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),
    (0, b"\0\0\x01\xba", VIDEO),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "gzip data"),
)


def has_dicom_preamble(path: Path) -> bool:
    """Test for the letters that stand behind the preamble of a DICOM file.

    Raises:
        PictureError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror}).", "Check the file's permissions.") from None


def is_video(path: Path) -> bool:
    """Test for a video by the file's suffix or, since people rename files, by its first bytes."""
    return NOT_READ.get(path.suffix.lower()) == VIDEO or guess_content(path) == f"holds {VIDEO}"


def guess_content(path: Path) -> str:
    """Guess the content of a file that is not read: by its first bytes, since people rename files, else by suffix."""
    with path.open("rb") as file:
        start = file.read(512)
    for at, signature, kind in SIGNATURES:
        if start[at:].startswith(signature):
            return f"holds {kind}"
    try:
        if start.decode().isprintable() or start.decode().split():
            return "holds text"
    except UnicodeDecodeError:
        pass
    named = NOT_READ.get(path.suffix.lower())
    return f"its name says {named}" if named else "holds other data"
