"""Size, tiles and scans of a compressed picture as its own stream states them, read before a decoder is let at it."""

import re
from collections.abc import Iterator

START_OF_FRAME = {0xC0 + number for number in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}  # JPEG; F7 is JPEG-LS
WITHOUT_LENGTH = {0x01, 0xFF} | set(range(0xD0, 0xD9))
SCAN, END = 0xDA, 0xD9
# Progressive JPEG have about ten scans, each of which costs a decoder a pass over the whole picture.
MAX_SCANS = 100
MAX_SCANNED = 720_000_000  # pixels in all scans, so that a picture of 36 megapixels may have 20
TOO_MANY_SCANS = f"a JPEG of more than {MAX_SCANS} scans (20 of a large picture) or of countless segments."
MAX_SEGMENTS = 75_000  # of a JPEG, as many as Pillow may read
# A marker with a length, or the end; between segments other bytes after FF are data (a stuffed 0, restarts, JPEG-LS).
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
JPEG_2000_START = b"\xff\x4f\xff\x51"  # start of a codestream and its SIZ marker


def stream_size(stream: bytes) -> tuple[int, int] | None:
    """Read width and height of a JPEG, JPEG-LS or JPEG 2000 stream; None if it states none."""
    at = stream.find(JPEG_2000_START, 0, 4096)  # boxes may stand before it
    if at >= 0:
        numbers = [int.from_bytes(stream[at + 8 + 4 * n : at + 12 + 4 * n]) for n in range(4)]
        return numbers[0] - numbers[2], numbers[1] - numbers[3]
    for marker, at in _jpeg_segments(stream):
        if marker in START_OF_FRAME:
            return int.from_bytes(stream[at + 5 : at + 7]), int.from_bytes(stream[at + 3 : at + 5])
    return None


def n_tiles(stream: bytes) -> int:
    """Count the tiles of a JPEG 2000 stream, whatever their size; 1 of any other."""
    at = stream.find(JPEG_2000_START, 0, 4096)
    if at < 0:
        return 1
    right, bottom, _, _, width, height, left, top = (
        int.from_bytes(stream[at + 8 + 4 * n : at + 12 + 4 * n]) for n in range(8)
    )
    return -(-(right - left) // max(width, 1)) * -(-(bottom - top) // max(height, 1))


def has_too_many_scans(stream: bytes, pixels: int) -> bool:
    """Test for a JPEG of so many pixels that would hold a decoder for long: too many scans, or countless segments."""
    if not stream.startswith(b"\xff\xd8"):
        return False
    at = n_scans = 0
    for _ in range(MAX_SEGMENTS):
        marker = MARKER.search(stream, at)
        if marker is None or stream[marker.start() + 1] == END:
            return False
        n_scans += stream[marker.start() + 1] == SCAN
        if n_scans > min(MAX_SCANS, MAX_SCANNED // max(pixels, 1)):
            return True
        at = marker.end() + int.from_bytes(stream[marker.end() : marker.end() + 2])
    return True


def _jpeg_segments(stream: bytes) -> Iterator[tuple[int, int]]:
    """List the markers before the first scan, each with the place of its length."""
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != SCAN:
        marker, at = stream[at + 1], at + (1 if stream[at + 1] == 0xFF else 2)
        if marker not in WITHOUT_LENGTH:
            yield marker, at
            at += int.from_bytes(stream[at : at + 2])
