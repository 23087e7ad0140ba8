"""Frames of a cine: a video, a multi-frame DICOM file or an animation, whose end shows that it is whole."""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln.decode.dicom import read_video_stream
from fusion_ln.decode.kinds import is_video
from fusion_ln.decode.limits import check_size
from fusion_ln.decode.picture import is_dicom, read_frames, read_n_frames, read_picture
from fusion_ln.errors import PictureError, pip_install

if TYPE_CHECKING:
    from av.container import InputContainer

INSTALL_VIDEO = f"Install the video reader with {pip_install('video')}."
FETCH = "Fetch the file again."
LEAST_READ = 0.95  # of the frames that the file states; the last few are often not there


@dataclass(frozen=True)
class Cine:
    """A file of several frames, read to its end once.

    Attributes:
        n_frames: Of a video, counted by decoding, since the count that it states is often wrong.
        video: File or, of a video within DICOM, stream for PyAV; None of what is no video.
    """

    path: Path
    n_frames: int
    video: Path | bytes | None = None

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Decode frames, counted from 0, in rising order; only one of them is held.

        Yields:
            The number of each, and its pixels: RGB, uint8, shape (H, W, 3), the same for all.

        Raises:
            PictureError: If one cannot be decoded, or is of another size than the one before.
        """
        shape = None
        for number, pixels in self._decode(frozenset(numbers)):
            if shape not in (None, pixels.shape):
                raise PictureError(
                    f"{self.path}: frame {number} is of another size than those before it.",
                    "Save each frame as a picture of its own.",
                )
            shape = pixels.shape
            yield number, pixels

    def middle(self) -> np.ndarray:
        """Decode the middle frame."""
        [(_, pixels)] = self.read([self.n_frames // 2])
        return pixels

    def _decode(self, numbers: frozenset[int]) -> Iterator[tuple[int, np.ndarray]]:
        if self.video is not None:
            return _decode_video(self.path, self.video, numbers)
        if is_dicom(self.path):
            return ((number, read_picture(self.path, frame=number)) for number in sorted(numbers))
        return read_frames(self.path, numbers)


def open_cine(path: Path) -> Cine | None:
    """Open a file of several frames, or a video of any; None of a still picture.

    Raises:
        PictureError: If PyAV is not installed; if a video holds no frame, stops decoding before its end, or has far
            fewer frames than it states; if another file's frames cannot be counted, or its last is not there.
    """
    if not path.is_file():
        return None
    if is_video(path):
        return Cine(path, _count_video_frames(path, path), path)
    n_frames = read_n_frames(path)
    if is_dicom(path) and (video := read_video_stream(path)):
        return Cine(path, _count_video_frames(path, video, n_frames), video)
    if n_frames == 1:
        return None
    if n_frames < 1:
        raise PictureError(f"{path}: its frames are too many to be counted, or none.", "Save it with fewer frames.")
    read_picture(path, frame=n_frames - 1)
    return Cine(path, n_frames)


def _decode_video(path: Path, video: Path | bytes, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    with _decoding(path, video) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                check_size(path, frame.width, frame.height)
                yield number, np.asarray(frame.to_ndarray(format="rgb24"))


def _count_video_frames(path: Path, video: Path | bytes, stated: int = 0) -> int:
    count = 0
    with _decoding(path, video) as container:
        stated = stated or container.streams.video[0].frames  # 0 where the format does not tell
        try:
            for _ in container.decode(video=0):
                count += 1
        except Exception as error:  # PyAV meets damaged files with errors of many kinds
            raise PictureError(f"{path}: stops decoding after {count} frames ({_reason(error)}).", FETCH) from None
    if count < LEAST_READ * stated:
        raise PictureError(f"{path}: ends after {count} of {stated} frames.", FETCH)
    if count == 0:
        raise PictureError(f"{path}: holds no frame.", FETCH)
    return count


@contextmanager
def _decoding(path: Path, video: Path | bytes) -> Iterator["InputContainer"]:
    try:
        import av
    except ImportError:
        raise PictureError(f"{path}: a video, and PyAV is not installed.", INSTALL_VIDEO) from None
    try:
        container = av.open(io.BytesIO(video) if isinstance(video, bytes) else str(video), mode="r")
    except Exception as error:
        raise PictureError(f"{path}: cannot be opened as a video ({_reason(error)}).", FETCH) from None
    with container:
        if not container.streams.video:
            raise PictureError(f"{path}: holds no moving picture.", "Leave it out, or fetch the file again.")
        yield container


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
