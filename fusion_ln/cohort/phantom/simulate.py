"""A cohort of simulated patients whose attainable AUC is known."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds, folds_origin
from fusion_ln.cohort.head import CohortDetails, new_cohort
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.cohort.phantom.modalities.bmode import Scanner
from fusion_ln.cohort.phantom.nodes import draw_nodes
from fusion_ln.cohort.phantom.patients import chances_by_class, draw_patients, draw_present
from fusion_ln.cohort.phantom.readers import draw_readers
from fusion_ln.cohort.phantom.settings import LARGEST_SIDE, SHIFTS, SMALLEST_SIDE
from fusion_ln.cohort.phantom.shift import draw_shift
from fusion_ln.cohort.phantom.studio import Studio
from fusion_ln.cohort.phantom.truth import POSTERIORS_FILE, TRUTH_FILE, attainable_of, posterior_table
from fusion_ln.errors import SettingsError, unknown
from fusion_ln.files.formats import write_parquet
from fusion_ln.manifests import load_manifest
from fusion_ln.terms import LABEL
from fusion_ln.threads import keep_freed_memory

READERS_KEY, NODES_KEY = 3, 4  # of their random numbers, beside those of patients, pictures and organs


def simulate_cohort(
    out: Path,
    *,
    n_patients: int = 240,
    image_size: int = 96,
    seed: int = 0,
    n_sites: int = 3,
    missing: float = 0.0,
    missing_link: float = 0.0,
    shortcut: float = 0.0,
    n_readers: int = 0,
    most_nodes: int = 1,
    shift: Collection[str] = (),
    shift_seed: int | None = None,
    k: int = 5,
    by_site: bool = False,
) -> Cohort:
    """Simulate patients, or nodes of them, with three pictures each and write them as a cohort folder.

    Args:
        out: The cohort folder to make.
        image_size: Width and height of the pictures in pixels.
        seed: Same seed and settings, same bytes, however many threads draw.
        n_sites: Number of sites (scanners) over which the patients are spread.
        missing: Probability that a picture is absent; a patient keeps at least one.
        missing_link: Strength from 0 to 1 with which a missing picture goes with the label; see
            `chances_by_class`. Attainable figures are those of a posterior that knows which pictures there are.
        shortcut: Share of pictures that carry the stamp of their label; the others carry a random one of the
            three. 0: no picture carries a stamp. Attainable figures ignore the stamp.
        n_readers: Number of simulated readers, see `draw_readers`.
        most_nodes: From 2 on each patient has one to as many nodes, see `draw_nodes`, and the units are nodes.
        shift: Names of `SHIFTS` in which these hospitals differ from the home ones; sizes by `draw_shift`. Attainable
            figures and posteriors are those of the shifted law.
        shift_seed: Seed of these sizes, for several cohorts of one hospital; by default ``seed``.
        k, by_site: See `draw_folds`.

    Returns:
        The cohort, simulated, with the settings and the attainable figures in its ``details``:
        ``details.attainable``; ``tables`` over all patients that the tables can yield, ``cohort`` over those of its
        own patients who have a picture of the subset.

    Raises:
        SettingsError: If a setting is out of its range.
        CohortError: If ``out`` holds something already, or a class gets fewer patients than there are folds.
    """
    other = draw_shift(shift, seed if shift_seed is None else shift_seed)
    scanners = [other.scanner(home) for home in _scanners(n_sites)]
    _check(n_patients, image_size, missing, missing_link, shortcut)
    _check_shift(shift, missing)
    keep_freed_memory()
    with new_cohort(out):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        patients = draw_patients(n_patients, [scanner.name for scanner in scanners], rng, other.law)
        if most_nodes > 1:  # with a generator of their own, as the readers
            own = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(NODES_KEY,)))
            patients = draw_nodes(patients, most_nodes, own, other.law)
        classes = tables().classes
        folds = draw_folds(
            patients, k=k, by_site=by_site, seed=seed, classes=classes
        )  # refuses before anything is drawn
        lacking = other.missing or missing
        present = draw_present(patients[LABEL].to_numpy(), lacking, missing_link, rng)
        chances = chances_by_class(lacking, missing_link) if lacking else None
        studio = Studio(out, patients, {scanner.name: scanner for scanner in scanners}, image_size, seed, shortcut)
        details = CohortDetails(
            n_patients=n_patients,
            image_size=image_size,
            seed=seed,
            missing=missing,
            sites=tuple(scanner.name for scanner in scanners),
            shortcut=shortcut,
            attainable=attainable_of(patients, present, other.law, chances),
        )
        if missing_link:
            details = details.model_copy(update={"missing_link": missing_link})
        if most_nodes > 1:
            details = details.model_copy(update={"nodes": most_nodes})
        if shift:
            details = details.model_copy(update={"shift": other.describe()})
        if by_site:
            details = details.model_copy(update={"folds": folds_origin(k, by_site, seed)})
        if n_readers:  # with a generator of their own: all else is drawn as without them
            own = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(READERS_KEY,)))
            patients = patients.join(draw_readers(patients, n_readers, own, other.law))
        manifest = load_manifest("phantom")
        kinds = [*(["nodes"] if most_nodes > 1 else []), *(name for name in SHIFTS if name in shift)]
        images, truth = studio.draw(present)
        write_parquet(out / TRUTH_FILE, truth)
        write_parquet(out / POSTERIORS_FILE, posterior_table(patients, other.law))
        cohort = Cohort(
            root=out,
            name="-".join(["phantom", str(n_patients), *kinds]),
            classes=classes,
            modalities=tables().modalities,
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


def _check(n_patients: int, image_size: int, missing: float, missing_link: float, shortcut: float) -> None:
    if n_patients < 1:
        raise SettingsError(f"--patients {n_patients}: at least one patient is needed.")
    if not SMALLEST_SIDE <= image_size <= LARGEST_SIDE:
        raise SettingsError(f"--image-size {image_size}: expected {SMALLEST_SIDE} to {LARGEST_SIDE} pixels.")
    if not 0 <= missing < 1:
        raise SettingsError(f"--missing {missing}: expected a chance from 0 to below 1.")
    if not 0 <= missing_link <= 1 or (missing_link and not missing):
        raise SettingsError(f"--missing-link {missing_link}: expected 0 to 1, and `--missing` above 0 with it.")
    if not 0 <= shortcut <= 1:
        raise SettingsError(f"--shortcut {shortcut}: expected a share from 0 to 1.")


def _check_shift(shift: Collection[str], missing: float) -> None:
    if strange := [name for name in shift if name not in SHIFTS]:
        raise SettingsError(*unknown("shift", strange[0], SHIFTS, where="--shift"))
    if missing and "missing" in shift:
        raise SettingsError("--shift missing draws the chances itself.", "Leave `--missing` out.")


def _scanners(n_sites: int) -> list[Scanner]:
    scanners = [Scanner(**site) for site in load_manifest("phantom")["sites"]]
    if not 1 <= n_sites <= len(scanners):
        raise SettingsError(f"--sites {n_sites}: the phantom knows 1 to {len(scanners)} sites.")
    return scanners[:n_sites]
