"""Decoding of pictures that strangers send: in processes of their own, within bounds of time and memory."""

import asyncio
import hashlib
import io
import multiprocessing
import os
import resource
from collections.abc import Callable
from concurrent.futures import TimeoutError as TooSlow
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from pebble import ProcessExpired, ProcessPool
from PIL import Image

from fusion_ln.cohort.checks.colours import guess_modality
from fusion_ln.cohort.checks.thumbnail import grey_copy
from fusion_ln.cohort.regions.alike import cut_alike, frame_alike
from fusion_ln.decode.kinds import is_video
from fusion_ln.decode.limits import DamagedError
from fusion_ln.decode.picture import burned_in_text, count_frames, read_picture
from fusion_ln.errors import PictureError
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.records.parts import Preparation
from fusion_ln.serve.cautions import Caution
from fusion_ln.threads import cores

MEMORY = 2_000_000_000  # bytes of addresses of a decoding process, libraries included
LONGEST = 640  # pixels of the longer side of a preview
TASKS = 500  # a process is replaced after so many pictures
T = TypeVar("T")
OPEN_IN_VIEWER = "Open it in a viewer; if it shows a picture there, save it as 8-bit PNG."


@dataclass(frozen=True)
class Upload:
    """A picture as it was sent.

    Attributes:
        name: Word for it in messages: its modality, never the name of the sender's file.
        side: Pixels a side of the square that it becomes.
        preparation: What the model's study did to its pictures; None: they are taken whole.
    """

    name: str
    data: bytes
    side: int
    preparation: Preparation | None = None


@dataclass(frozen=True)
class Decoded:
    """A picture that a model takes.

    Attributes:
        pixels: uint8, shape (3, S, S).
        warnings: What there is to say about the file; see `warnings_of`.
        copy: Its grey copy, see `grey_copy`.
        sha256: Of the file.
    """

    pixels: np.ndarray
    warnings: list[Caution]
    copy: np.ndarray
    sha256: str


@dataclass(frozen=True)
class Preview:
    """A picture to be looked at before a model is asked.

    Attributes:
        modality: Guessed by its colours.
        width, height: Of the picture, in pixels.
        png: It, made smaller if a side is longer than `LONGEST`.
        warnings: See `Decoded`.
    """

    modality: str
    width: int
    height: int
    png: bytes
    warnings: list[Caution]


class Decoder:
    """Processes that decode; one that dies or takes too long is replaced."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pool = self._open_pool()

    @staticmethod
    def _open_pool() -> ProcessPool:
        context = multiprocessing.get_context("spawn")
        n_processes = cores()
        return ProcessPool(n_processes, max_tasks=TASKS, initializer=_bound_memory, context=context)

    async def decode(self, upload: Upload) -> Decoded:
        """Decode a picture for a model.

        Raises:
            PictureError: If it cannot be read, or not within the bounds.
        """
        return await self._run(decode, upload)

    async def preview(self, upload: Upload) -> Preview:
        """Decode a picture to be looked at.

        Raises:
            PictureError: See `decode`.
        """
        return await self._run(preview, upload)

    async def _run(self, function: Callable[[Upload], T], upload: Upload) -> T:
        for _ in range(2):
            pool = self._pool
            try:
                return await asyncio.wrap_future(pool.schedule(function, args=[upload], timeout=self._seconds))
            except TooSlow:
                raise PictureError(
                    f"{upload.name}: not decoded within {self._seconds:g} s.", OPEN_IN_VIEWER, "too-heavy"
                ) from None
            except MemoryError:
                raise PictureError(
                    f"{upload.name}: too large once it is decoded.", OPEN_IN_VIEWER, "too-heavy"
                ) from None
            except ProcessExpired:
                break
            except RuntimeError:
                if pool.active:
                    raise
                await self._replace(pool)
        raise PictureError(f"{upload.name}: its decoder stopped.", OPEN_IN_VIEWER, "too-heavy")

    async def _replace(self, broken: ProcessPool) -> None:
        """Take a new pool for one that gave up, as it does when an idle process of its is killed."""
        if self._pool is broken:
            self._pool = self._open_pool()
            await asyncio.to_thread(_end, broken)

    def close(self) -> None:
        """End the processes, busy or not."""
        _end(self._pool)


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def decode(upload: Upload) -> Decoded:
    """Decode a picture for a model in this process, from memory alone.

    Raises:
        PictureError: If it cannot be read.
    """
    pixels, warnings = _read(upload)
    sha256 = hashlib.sha256(upload.data).hexdigest()
    return Decoded(prepare_picture(pixels, upload.side), warnings, grey_copy(pixels), sha256)


def preview(upload: Upload) -> Preview:
    """Decode a picture to be looked at, in this process, from memory alone.

    Raises:
        PictureError: If it cannot be read.
    """
    pixels, warnings = _read(upload)
    smaller = Image.fromarray(pixels)
    smaller.thumbnail((upload.side, upload.side))
    height, width = pixels.shape[:2]
    return Preview(guess_modality(pixels), width, height, encode_png(smaller), warnings)


def encode_png(image: Image.Image) -> bytes:
    """Encode a picture as PNG; quick rather than small."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _read(upload: Upload) -> tuple[np.ndarray, list[Caution]]:
    """Read the pixels, uint8 (H, W, 3), and what there is to say about the file."""
    descriptor = os.memfd_create("upload")
    path = Path(f"/proc/self/fd/{descriptor}")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(upload.data)
        _refuse_choice(upload, path)
        frame = frame_alike(upload.preparation, path)
        pixels = cut_alike(upload.preparation, path, read_picture(path, frame=frame), upload.name)
        return pixels, warnings_of(upload.name, path, frame)
    except DamagedError as error:
        raise PictureError(f"{upload.name}: truncated or damaged.", error.way_out, error.fault) from None
    except PictureError as error:
        problem = error.problem.replace(str(path), upload.name)
        # A program has no option `--frame`.
        way_out = OPEN_IN_VIEWER if "--frame" in error.way_out else error.way_out
        raise PictureError(problem, way_out, error.fault) from None
    finally:
        os.close(descriptor)


def _refuse_choice(upload: Upload, path: Path) -> None:
    """Refuse a cine where the model's study chose its frames among many: that takes longer than a request may."""
    rule = upload.preparation.frames if upload.preparation else ""
    if rule and (is_video(path) or count_frames(path) != 1):
        raise PictureError(
            f"{upload.name}: a file of several frames, and the model learnt from chosen ones (`--frames {rule}`).",
            "Send the frame alone as PNG; `fusionln predict MODEL` chooses it from the file.",
            "video",
        )


def warnings_of(name: str, path: Path, frame: int = 0) -> list[Caution]:
    """Warn of text that stands in a picture, as its file says, and of frames that nobody looks at."""
    warnings = []
    if burned_in_text(path):
        text = f"{name}: text stands in the picture, as its file says; it may name the patient."
        warnings.append(Caution(text, "text-in-picture"))
    if (n_frames := count_frames(path)) != 1:
        used = f"frame {frame}, counted from 0 and as in the model's study," if frame else "the first"
        text = f"{name}: the file holds {n_frames or 'countless'} frames; {used} alone is used."
        warnings.append(Caution(text, None if frame else "first-frame"))
    return warnings


def _bound_memory() -> None:
    with suppress(ValueError):  # a container may have set a lower limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
