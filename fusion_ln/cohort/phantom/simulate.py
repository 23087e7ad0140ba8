"""A cohort of simulated patients: findings drawn, pictures rendered, and what can at best be attained on them."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort, save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.head import Attainable, CohortDetails
from fusion_ln.cohort.phantom.bmode import Scanner
from fusion_ln.cohort.phantom.findings import (
    attainable,
    attainable_by_tables,
    draw_findings,
    posterior,
    tables,
)
from fusion_ln.cohort.phantom.render import NodeSize, Picture, render
from fusion_ln.errors import CohortError, SettingsError
from fusion_ln.files import cannot_write, write_parquet
from fusion_ln.manifests import load_manifest
from fusion_ln.progress import progress
from fusion_ln.terms import (
    HEIGHT,
    IMAGE,
    LABEL,
    MODALITIES,
    MODALITY,
    PATH,
    PATIENT,
    PROB,
    SHA256,
    SITE,
    VIEW,
    WIDTH,
    subsets,
)  # fmt: skip

SUBSET = "subset"  # column of the posteriors: names of modalities joined by +; empty: no picture seen
NO_MODALITY = ""
PNG_LEVEL = 1  # speckle hardly compresses: higher levels cost time and save little
SMALLEST, LARGEST = 32, 2048  # pixels
TRUTH_FILE, POSTERIORS_FILE = "truth.parquet", "posteriors.parquet"


@dataclass(frozen=True)
class Truth:
    """What a phantom cohort knows beyond its pictures; the findings are columns of the cohort's ``patients``.

    Attributes:
        pictures: One row per picture, in the order of the cohort's ``images``: ``image_id, patient_id, modality``,
            the node's ellipse in pixels (``node_x, node_y, node_semi_long, node_semi_short``, ``node_angle`` in
            degrees, clockwise from the horizontal to the long axis), its outline (``outline_x``, ``outline_y``:
            lists of points), and what is burned in (``marks``: list of ``name, left, top, right, bottom``).
            The mark named ``stamp`` is the planted shortcut.
        posteriors: ``patient_id, subset, prob_<class>...``: the exact posterior given the findings that the modalities
            of ``subset`` show (names joined by ``+``), whether or not the patient has those pictures; subset
            ``""`` is the prevalence.
    """

    pictures: pd.DataFrame
    posteriors: pd.DataFrame


def simulate_cohort(
    out: Path,
    *,
    n_patients: int = 240,
    image_size: int = 96,
    seed: int = 0,
    n_sites: int = 3,
    missing: float = 0.0,
    shortcut: float = 0.0,
    n_folds: int = 5,
) -> Cohort:
    """Simulate patients with three pictures each and write them as a cohort folder.

    Args:
        out: The cohort folder to make.
        image_size: Width and height of the pictures in pixels.
        seed: Same seed and settings, same bytes, however many threads draw.
        n_sites: Over how many sites (scanners) the patients are spread.
        missing: Chance of each picture to be absent; a patient keeps at least one.
        shortcut: Share of pictures that carry the stamp of their label, the others carry a random one of the
            three; 0: no picture carries a stamp. Attainable figures know nothing of the stamp.
        n_folds: Number of outer folds.

    Returns:
        The cohort, simulated, with the settings and the attainable figures in its ``details``:
        ``details.attainable``; ``tables`` over all patients that the tables can yield, ``cohort`` over those of its
        own patients who have a picture of the subset.

    Raises:
        SettingsError: If a setting is out of its range.
        CohortError: If ``out`` holds a cohort already, or a class gets fewer patients than there are folds.
    """
    scanners = _scanners(n_sites)
    _check(out, n_patients, image_size, missing, shortcut)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    patients = draw_patients(n_patients, [scanner.name for scanner in scanners], rng)
    folds = draw_folds(patients, k=n_folds, seed=seed, classes=tables().classes)  # refuses before anything is drawn
    present = draw_present(n_patients, missing, rng)
    studio = _Studio(out, patients, {scanner.name: scanner for scanner in scanners}, image_size, seed, shortcut)
    images, truth = studio.draw(present)
    write_parquet(out / TRUTH_FILE, truth)
    write_parquet(out / POSTERIORS_FILE, _posteriors(patients))
    details = CohortDetails(
        n_patients=n_patients,
        image_size=image_size,
        seed=seed,
        missing=missing,
        sites=tuple(scanner.name for scanner in scanners),
        shortcut=shortcut,
        attainable=Attainable(
            tables={name: attainable_by_tables(subset) for name, subset in subsets(MODALITIES).items()},
            cohort=attainable_by_cohort(patients, present),
        ),
    )
    manifest = load_manifest("phantom")
    cohort = Cohort(
        root=out,
        name=f"phantom-{n_patients}",
        classes=tables().classes,
        modalities=MODALITIES,
        source=manifest["source"],
        licence=manifest["licence"],
        patients=patients,
        images=images,
        folds=folds,
        pictures=out,
        simulated=True,
        details=details,
    )
    save_cohort(cohort)
    return cohort


def load_truth(cohort: Cohort) -> Truth:
    """Read what a phantom cohort knows beyond its pictures.

    Raises:
        CohortError: If the cohort is not a phantom, or its files were taken away.
    """
    paths = [cohort.root / TRUTH_FILE, cohort.root / POSTERIORS_FILE]
    if not cohort.simulated or not all(path.is_file() for path in paths):
        raise CohortError(
            f"cohort {cohort.name}: the true outlines and posteriors are known for phantom cohorts only.",
            "Make one with `fusionln cohort phantom --out DIR`.",
        )
    return Truth(*(pd.read_parquet(path) for path in paths))


@dataclass(frozen=True)
class _Studio:
    """Draws and writes the pictures of a cohort, each from its own random stream."""

    out: Path
    patients: pd.DataFrame
    scanners: Mapping[str, Scanner]
    image_size: int
    seed: int
    shortcut: float

    def draw(self, present: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Draw all pictures that are ``present`` (P, M); returns the tables of images and of the truth about them."""
        for modality in MODALITIES:
            try:
                (self.out / "images" / modality).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(self.out, error) from error
        jobs = [(int(patient), MODALITIES[modality]) for patient, modality in np.argwhere(present)]
        rows = list(self._rows(jobs))
        return pd.DataFrame([image for image, _ in rows]), pd.DataFrame([truth for _, truth in rows])

    def _rows(self, jobs: Sequence[tuple[int, str]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        # Threads serve as well as processes: NumPy, SciPy and Pillow let go of the interpreter while they compute.
        with (
            progress("Simulated pictures", len(jobs)) as step,
            ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        ):
            for row in pool.map(lambda job: self._draw_one(*job), jobs):
                step("")
                yield row

    def _draw_one(self, index: int, modality: str) -> tuple[dict[str, Any], dict[str, Any]]:
        patient = self.patients.iloc[index]
        stream = np.random.SeedSequence(self.seed, spawn_key=(1, index, MODALITIES.index(modality)))
        rng = np.random.default_rng(stream)
        picture = render(
            modality,
            {name: patient[name] for name in tables().shown[modality]},
            NodeSize(patient["long_axis_mm"] / 2, patient["short_axis_mm"] / 2),
            self.scanners[patient[SITE]],
            size=self.image_size,
            stamp=self._stamp(int(patient[LABEL]), rng),
            rng=rng,
        )
        keys = {IMAGE: f"{patient[PATIENT]}-{modality}", PATIENT: patient[PATIENT], MODALITY: modality}
        path = f"images/{modality}/{patient[PATIENT]}.png"
        digest = _write_png(self.out / path, picture)
        size = {WIDTH: picture.image.width, HEIGHT: picture.image.height}
        return keys | {VIEW: 0, PATH: path} | size | {SHA256: digest}, keys | _truth_of(picture)

    def _stamp(self, label: int, rng: np.random.Generator) -> int | None:
        own, other = rng.random() < self.shortcut, int(rng.integers(len(tables().classes)))
        if self.shortcut == 0:
            return None
        return label if own else other


def _check(out: Path, n_patients: int, image_size: int, missing: float, shortcut: float) -> None:
    if n_patients < 1:
        raise SettingsError(f"--patients {n_patients}: at least one patient is needed.")
    if not SMALLEST <= image_size <= LARGEST:
        raise SettingsError(f"--image-size {image_size}: expected {SMALLEST} to {LARGEST} pixels.")
    if not 0 <= missing < 1:
        raise SettingsError(f"--missing {missing}: expected a chance from 0 to below 1.")
    if not 0 <= shortcut <= 1:
        raise SettingsError(f"--shortcut {shortcut}: expected a share from 0 to 1.")
    if (out / "cohort.toml").exists():
        raise CohortError(f"{out}: holds a cohort already.", "Choose another folder with `--out DIR`, or delete it.")


def _scanners(n_sites: int) -> list[Scanner]:
    scanners = [Scanner(**site) for site in load_manifest("phantom")["sites"]]
    if not 1 <= n_sites <= len(scanners):
        raise SettingsError(f"--sites {n_sites}: the phantom knows 1 to {len(scanners)} sites.")
    return scanners[:n_sites]


def draw_patients(n: int, sites: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Draw the table of patients: label, site, clinical columns and findings; labels in the paper's proportions."""
    # Class c gets the patients whose middle falls into its part of the unit interval: counts within one of n * share.
    bounds = tables().prevalence.cumsum()[:-1]
    labels = rng.permutation(np.searchsorted(bounds, (np.arange(n) + 0.5) / n))
    digits = max(4, len(str(n)))
    who = pd.DataFrame(
        {
            PATIENT: [f"P{number:0{digits}d}" for number in range(1, n + 1)],
            LABEL: labels.astype(np.int64),
            SITE: rng.permutation(np.resize(np.array(sites, dtype=object), n)),
        }
    )
    findings = draw_findings(labels, rng)
    return pd.concat([who, _draw_clinical(labels, rng), _draw_axes(findings, rng), findings], axis=1)


def _draw_clinical(labels: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    clinical = load_manifest("phantom")["clinical"]
    mean_age = np.array([clinical["age_mean"][name] for name in tables().classes])[labels]
    ages = rng.normal(mean_age, clinical["age_sd"]).clip(18, 90).round().astype(np.int64)
    male, smoker = rng.random((2, len(labels)))
    return pd.DataFrame(
        {
            "age": ages,
            "sex": np.where(male < clinical["male_share"], "male", "female"),
            "smoking": np.where(smoker < clinical["smoker_share"], "yes", "no"),
        }
    )


def _draw_axes(findings: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Long and short axis: their ratio by the shape, their product by chance alone."""
    node = load_manifest("phantom")["node"]
    low, high = np.array([node["ratio"][shape] for shape in findings["shape"]]).T
    smallest, largest = node["mean_diameter_mm"]
    ratio, diameter = rng.uniform(low, high), rng.uniform(smallest, largest, len(findings))
    axes = {"long_axis_mm": diameter * np.sqrt(ratio), "short_axis_mm": diameter / np.sqrt(ratio)}
    return pd.DataFrame(axes).round(1)


def draw_present(n: int, missing: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the presence mask of the pictures (P, M), at least one per patient."""
    present = rng.random((n, len(MODALITIES))) >= missing
    kept = rng.integers(len(MODALITIES), size=n)
    empty = np.flatnonzero(~present.any(axis=1))
    present[empty, kept[empty]] = True
    return present


def _posteriors(patients: pd.DataFrame) -> pd.DataFrame:
    columns = [f"{PROB}{name}" for name in tables().classes]
    parts = []
    for name, subset in {NO_MODALITY: (), **subsets(MODALITIES)}.items():
        part = pd.DataFrame(posterior(patients, subset), columns=columns)
        part.insert(0, SUBSET, name)
        part.insert(0, PATIENT, patients[PATIENT])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def attainable_by_cohort(patients: pd.DataFrame, present: np.ndarray) -> dict[str, dict[str, float]]:
    """Score the exact posterior on these patients, each seen in the present pictures of the subset."""
    figures = {}
    for name, subset in subsets(MODALITIES).items():
        has = present & np.isin(MODALITIES, subset)
        probs = np.empty((len(patients), len(tables().classes)))
        for pattern in np.unique(has, axis=0):
            rows = (has == pattern).all(axis=1)
            probs[rows] = posterior(patients[rows], np.array(MODALITIES)[pattern])
        seen = has.any(axis=1)
        figures[name] = attainable(probs[seen], patients[LABEL].to_numpy()[seen])
    return figures


def _write_png(path: Path, picture: Picture) -> str:
    """Write the picture; returns the SHA-256 of the file's bytes."""
    buffer = io.BytesIO()
    picture.image.save(buffer, "png", compress_level=PNG_LEVEL)
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise cannot_write(path, error) from error
    return sha256(buffer.getvalue()).hexdigest()


def _truth_of(picture: Picture) -> dict[str, Any]:
    outline = picture.outline.round(2)
    sides = ("left", "top", "right", "bottom")
    marks = [{"name": name, **dict(zip(sides, map(float, box), strict=True))} for name, box in picture.marks.items()]
    return picture.node | {"outline_x": outline[:, 0], "outline_y": outline[:, 1], "marks": marks}
