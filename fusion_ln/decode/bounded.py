"""Reading within bounds, so that no file holds a reader for long or fills the memory."""

import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from fusion_ln.decode.limits import CONVERT
from fusion_ln.errors import PictureError

MAX_BYTES = 256 * 2**20  # read in all; a frame of 36 megapixels with 16 bits a colour has 206 MiB
MAX_CHUNKS = 50_000  # of a PNG; one of 36 megapixels has 13,000
PNG = b"\x89PNG\r\n\x1a\n"


@cache
def quiet_readers() -> None:
    """Silence Pillow and pydicom, once a process, about what they can still read.

    Pillow warns of bombs at a limit of its own, which no thread may change; `check_size` refuses them instead.
    """
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.|pydicom\.")


class BoundError(Exception):
    """A file breaks a bound of reading."""


class Bounded(io.RawIOBase):
    """A file that gives at most ``max_reads`` times, and at most `MAX_BYTES` in all."""

    def __init__(self, inner: BinaryIO, name: Path, max_reads: int) -> None:
        self.inner, self.name = inner, str(name)
        self.reads_left, self.bytes_left = max_reads, MAX_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does.

        Raises:
            BoundError: If that breaks a bound.
        """
        wanted = self.bytes_left + 1 if size is None or size < 0 else min(size, self.bytes_left + 1)
        given = self.inner.read(wanted)
        self.reads_left -= 1
        self.bytes_left -= len(given)
        if self.reads_left < 0:
            raise BoundError("cut into more pieces (elements, fragments, segments) than any picture")
        if self.bytes_left < 0:
            raise BoundError(f"more than {MAX_BYTES // 2**20} MiB would have to be read")
        return given

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.inner.fileno()

    def close(self) -> None:
        self.inner.close()
        super().close()


def refuse_png_bomb(path: Path) -> None:
    """Refuse a PNG of countless chunks or with several colour profiles, each of which the reader would inflate."""
    profiles = 0
    with path.open("rb") as file:
        if file.read(len(PNG)) != PNG:
            return
        for _ in range(MAX_CHUNKS):
            head = file.read(8)
            if len(head) < 8 or head[4:] == b"IEND":
                return
            profiles += head[4:] == b"iCCP"
            if profiles > 1:
                raise PictureError(
                    f"{path}: a PNG with several colour profiles; it may have one.", CONVERT, "too-heavy"
                )
            file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)
    raise PictureError(f"{path}: a PNG of more than {MAX_CHUNKS} chunks.", CONVERT, "too-heavy")
