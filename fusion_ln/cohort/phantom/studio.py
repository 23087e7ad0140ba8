"""Drawing of all pictures of a phantom cohort, on several threads."""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.render import NodeSize, render_patient
from fusion_ln.cohort.phantom.truth import Row, truth_of
from fusion_ln.files.atomic import write_bytes
from fusion_ln.progress import progress
from fusion_ln.terms import HEIGHT, IMAGE, LABEL, MODALITY, PATH, PATIENT, SHA256, SITE, VIEW, WIDTH
from fusion_ln.threads import cores
from fusion_ln.units import SEPARATOR

PNG_LEVEL = 1  # speckle hardly compresses: higher levels cost time and save little


@dataclass(frozen=True)
class Studio:
    """Room in which the pictures of a cohort are drawn and written, each from its own random stream."""

    out: Path
    patients: pd.DataFrame
    scanners: Mapping[str, Scanner]
    image_size: int
    seed: int
    shortcut: float

    def draw(self, present: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Draw all pictures that are ``present`` (P, M); returns the cohort's table of images and `Truth.pictures`."""
        modalities = tables().modalities
        jobs = [(int(patient), modalities[modality]) for patient, modality in np.argwhere(present)]
        rows = list(self._draw_pictures(jobs))
        return pd.DataFrame([image for image, _ in rows]), pd.DataFrame([truth for _, truth in rows])

    def _draw_pictures(self, jobs: Sequence[tuple[int, str]]) -> Iterator[tuple[Row, Row]]:
        # Threads serve as well as processes: NumPy, SciPy and Pillow let go of the interpreter while they compute.
        with (
            progress("Simulated pictures", len(jobs)) as step,
            ThreadPoolExecutor(cores()) as pool,
        ):
            for row in pool.map(lambda job: self._draw_picture(*job), jobs):
                step("")
                yield row

    def _draw_picture(self, index: int, modality: str) -> tuple[Row, Row]:
        patient = self.patients.iloc[index]
        stream = np.random.SeedSequence(self.seed, spawn_key=(1, index, tables().modalities.index(modality)))
        rng = np.random.default_rng(stream)
        picture = render_patient(
            modality,
            {name: patient[name] for name in tables().shown[modality]},
            NodeSize(patient["long_axis_mm"] / 2, patient["short_axis_mm"] / 2),
            self.scanners[patient[SITE]],
            size=self.image_size,
            stamp=self.draw_stamp(int(patient[LABEL]), rng),
            rng=rng,
        )
        stem = patient[PATIENT].replace(SEPARATOR, "-")
        keys: Row = {IMAGE: f"{stem}-{modality}", PATIENT: patient[PATIENT], MODALITY: modality}
        path = f"images/{modality}/{stem}.png"
        digest = save_picture(self.out / path, picture.image)
        size: Row = {WIDTH: picture.image.width, HEIGHT: picture.image.height}
        return keys | {VIEW: 0, PATH: path} | size | {SHA256: digest}, keys | truth_of(picture)

    def draw_stamp(self, label: int, rng: np.random.Generator) -> int | None:
        """Draw the class whose stamp a picture carries; None where no picture carries one."""
        of_label, random = rng.random() < self.shortcut, int(rng.integers(len(tables().classes)))
        if self.shortcut == 0:
            return None
        return label if of_label else random


def save_picture(path: Path, image: Image.Image) -> str:
    """Write a picture and the folder above it; returns the SHA-256 of the file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=PNG_LEVEL)
    write_bytes(path, buffer.getvalue())
    return sha256(buffer.getvalue()).hexdigest()
