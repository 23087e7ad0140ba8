"""Size of a compressed picture as its own stream states it, read before any decoder is let at it."""

from collections.abc import Iterator

START_OF_FRAME = {0xC0 + number for number in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}  # JPEG; F7 is JPEG-LS
WITHOUT_LENGTH = {0x01, 0xFF} | set(range(0xD0, 0xD9))
SCAN = 0xDA
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


def _jpeg_segments(stream: bytes) -> Iterator[tuple[int, int]]:
    """List the markers before the first scan, each with the place of its length."""
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != SCAN:
        marker, at = stream[at + 1], at + (1 if stream[at + 1] == 0xFF else 2)
        if marker not in WITHOUT_LENGTH:
            yield marker, at
            at += int.from_bytes(stream[at : at + 2])
