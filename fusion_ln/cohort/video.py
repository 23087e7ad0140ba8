"""Evenly spaced frames of a video, counted by decoding, since the count that a file states is often wrong."""

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fusion_ln.cohort.source import Archive, ImageRow
from fusion_ln.errors import PictureError
from fusion_ln.files.atomic import write_bytes
from fusion_ln.files.names import as_file_name
from fusion_ln.threads import map_with_progress

if TYPE_CHECKING:
    from av.container import InputContainer

INSTALL_VIDEO = 'Install the video reader with `pip install "fusion_ln[video]"`.'
LEAST_READ = 0.95  # of the frames that the file states; the last few are often not there


def with_frames(archive: Archive, folder: Path) -> Archive:
    """Replace the videos of an archive by frames of them, written to ``folder`` as PNG.

    A video that cannot be decoded becomes one of ``unusable``.

    Raises:
        RunError: If the frames cannot be written.
    """
    rows: list[ImageRow] = []
    unusable = list(archive.unusable)
    stems = Counter(row.path.stem for row in archive.images)
    places = [folder / _folder_name(archive.root, row.path, stems) for row in archive.images]
    results = map_with_progress("Taking frames of videos", _take_frames, list(zip(places, archive.images, strict=True)))
    for row, result in zip(archive.images, results, strict=True):
        if isinstance(result, PictureError):
            unusable.append((row.path.relative_to(archive.root).as_posix(), result))
        else:
            rows += result
    return replace(archive, root=folder.parent, images=rows, unusable=tuple(unusable))


def _folder_name(root: Path, path: Path, stems: Counter[str]) -> str:
    """Name the folder of a video's frames: as the video or, where others in the archive have its name, as its path."""
    return path.stem if stems[path.stem] == 1 else as_file_name(path.relative_to(root).as_posix())


def _take_frames(place: tuple[Path, ImageRow]) -> list[ImageRow] | PictureError:
    folder, row = place
    rows = []
    try:
        for number, pixels in enumerate(sample_frames(row.path, row.frames)):
            path = folder / f"{number}.png"
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "png")
            write_bytes(path, buffer.getvalue())
            rows.append(replace(row, path=path, view=number, frames=0))
    except PictureError as error:
        return error
    return rows


def sample_frames(path: Path, n: int) -> list[np.ndarray]:
    """Decode ``n`` frames from the middles of ``n`` equal parts of a video; all of them where it has fewer.

    The video is decoded twice, first to count its frames: only ``n`` of them are ever held.

    Returns:
        RGB pictures, uint8, each of shape (H, W, 3).

    Raises:
        PictureError: If PyAV is not installed, or the file is no video, holds no frame, stops decoding before its end,
            or has far fewer frames than it states.
    """
    total = _count_frames(path)
    wanted = {int((part + 0.5) * total / n) for part in range(n)}
    with _decoding(path) as container:
        frames = enumerate(container.decode(video=0))
        return [np.asarray(frame.to_ndarray(format="rgb24")) for number, frame in frames if number in wanted]


def _count_frames(path: Path) -> int:
    count = 0
    with _decoding(path) as container:
        stated = container.streams.video[0].frames  # 0 where the format does not tell
        try:
            for _ in container.decode(video=0):
                count += 1
        except Exception as error:  # PyAV meets damaged files with errors of many kinds
            raise PictureError(
                f"{path}: stops decoding after {count} frames ({_reason(error)}).", "Fetch the file again."
            ) from None
    if count < LEAST_READ * stated:
        raise PictureError(f"{path}: ends after {count} of {stated} frames.", "Fetch the file again.")
    if count == 0:
        raise PictureError(f"{path}: holds no frame.", "Fetch the file again.")
    return count


@contextmanager
def _decoding(path: Path) -> Iterator["InputContainer"]:
    try:
        import av
    except ImportError:
        raise PictureError(f"{path}: a video, and PyAV is not installed.", INSTALL_VIDEO) from None
    try:
        container = av.open(str(path))
    except Exception as error:
        raise PictureError(
            f"{path}: cannot be opened as a video ({_reason(error)}).", "Fetch the file again."
        ) from None
    with container:
        if not container.streams.video:
            raise PictureError(f"{path}: holds no moving picture.", "Leave it out, or fetch the file again.")
        yield container


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
