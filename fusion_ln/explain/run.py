"""Explanation of a run: maps and contributions of chosen patients, stored in a folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.phantom.truth import Truth, load_truth
from fusion_ln.compute.device import fits_at_once
from fusion_ln.compute.local import run as run_here
from fusion_ln.compute.threads import fixed_threads, threads_per_fit
from fusion_ln.decode.stored import load_arrays
from fusion_ln.errors import RunError
from fusion_ln.explain.contributions import contributions
from fusion_ln.explain.held_out import HeldOut
from fusion_ln.explain.job import MapsJob
from fusion_ln.explain.map_metrics import RANDOMIZED_SHARES, SCORE_SHAPES
from fusion_ln.explain.methods import METHODS, fitting_methods
from fusion_ln.explain.network import Case
from fusion_ln.explain.phantom_masks import picture_masks
from fusion_ln.explain.request import SAMPLE, ExplainSettings
from fusion_ln.explanations import ExplanationRecord, MethodRecord
from fusion_ln.files.folders import refuse_taken
from fusion_ln.files.formats import write_arrays, write_parquet
from fusion_ln.files.hashes import hash_file
from fusion_ln.files.locks import locked
from fusion_ln.models.triplet import TrainedRun, load_run
from fusion_ln.predictions import Predictions, read_predictions
from fusion_ln.progress import progress
from fusion_ln.runs import ExplanationFolder, RunFolder
from fusion_ln.terms import (
    EXPLANATION_RECORD,
    FOLD,
    HEIGHT,
    IMAGE,
    LABEL,
    MODALITIES_USED,
    MODALITY,
    PATIENT,
    PROB,
    RANDOM_MAPS,
    VIEW,
    WIDTH,
)
from fusion_ln.threads import cores


def explain_run(run: RunFolder, cohort: Cohort, settings: ExplainSettings, out: ExplanationFolder) -> None:
    """Explain patients of a finished run, each by the model of the fold that held the patient out.

    Maps that an earlier, perhaps interrupted, explanation of the same run stored in ``out`` are reused.

    Args:
        run: Finished run.
        cohort: Its cohort, see `open_run_cohort`.
        settings: Patients and methods.
        out: Folder to write to.

    Raises:
        RunError: If the run is not finished or lacks checkpoints, a patient is not in it, or ``out`` holds
            anything but an explanation of this run.
        SettingsError: If a method does not fit the networks.
    """
    refuse_taken(out.root, EXPLANATION_RECORD)
    trained = load_run(run)
    predictions = read_predictions(run.predictions)
    patients = choose_patients(predictions, settings)
    held_out = HeldOut(trained.models.__getitem__, cohort, predictions)
    methods = settings.methods or tuple(fitting_methods(held_out.explained(0)))
    truth = load_truth(cohort) if cohort.simulated and not cohort.is_cropped else None
    with locked(out.lock), fixed_threads(cores()):  # single pictures, on which a second thread only waits
        digest = _claim(out, trained, held_out, methods, settings)
        _Explainer(run, held_out, out, truth, settings, digest).explain(patients, methods)
        if len(trained.sides) > 1:
            shares, pairs = contributions(held_out, predictions.patients if settings.everyone else patients, truth)
            write_parquet(out.contributions, shares)
            write_parquet(out.interactions, pairs)


def choose_patients(predictions: Predictions, settings: ExplainSettings) -> list[str]:
    """Choose the patients to explain, sorted: the named ones, or a draw that takes the classes in turn.

    Raises:
        RunError: If a named patient is not in the run, or there is none to draw from.
    """
    if settings.patients:
        if unknown := [patient for patient in settings.patients if patient not in set(predictions.patients)]:
            raise RunError(
                f"patient {unknown[0]!r} is not in the run: it predicts {len(predictions.patients)} patients, "
                f"from {predictions.patients[0]} to {predictions.patients[-1]}.",
                "See the ids in predictions.parquet; a baseline leaves out patients without its modality.",
            )
        return sorted(set(settings.patients))
    wrong = predictions.probs.argmax(1) != predictions.labels
    rows = np.flatnonzero(wrong if settings.errors else np.ones(len(wrong), dtype=bool))
    if not len(rows):
        raise RunError("the run misclassifies no patient, so `--errors` leaves none.", "Leave it out.")
    wanted = settings.sample or (len(rows) if settings.errors else SAMPLE)
    drawn = np.random.default_rng(settings.seed).permutation(rows)
    # The first of every class, then the second of every class, ...: as even as the classes allow.
    turn = pd.Series(predictions.labels[drawn]).groupby(predictions.labels[drawn]).cumcount().to_numpy()
    chosen = drawn[np.lexsort((predictions.labels[drawn], turn))][:wanted]
    return sorted(predictions.patients[row] for row in chosen)


def _claim(
    out: ExplanationFolder, trained: TrainedRun, held_out: HeldOut, methods: tuple[str, ...], settings: ExplainSettings
) -> str:
    """Write the record of this explanation, unless the folder holds one of another run.

    Returns:
        Hash of the run's predictions.
    """
    run = trained.run
    digest = hash_file(run.predictions)
    record = ExplanationRecord(
        run=run.name,
        settings=run.read_prediction_record().settings.model_dump(mode="json"),
        predictions=digest,
        simulated=trained.simulated,
        classes=trained.classes,
        sides=trained.sides,
        methods=tuple(
            MethodRecord(name=name, title=METHODS[name].title, description=METHODS[name].description)
            for name in methods
        ),
        grids=_grids(held_out) if "gradcam" in methods else {},
        trust=settings.trust,
        randomized_shares=RANDOMIZED_SHARES,
        errors=settings.errors,
        named=bool(settings.patients),
    )
    if out.record.is_file() and (other := ExplanationRecord.read(out.record)).predictions != digest:
        raise RunError(
            f"{out.root}: holds the explanation of another run ({other.run}).",
            "Choose another folder with `--out DIR`, or delete this one.",
        )
    record.write(out.record)
    return digest


def _grids(held_out: HeldOut) -> dict[str, tuple[int, int]]:
    """Return rows and columns of Grad-CAM's feature planes, by modality."""
    explained = held_out.explained(0)
    for modality in explained.modalities:
        explained.planes(modality)
    return explained.grids


def _compute(jobs: list[MapsJob]) -> None:
    """Compute the maps that are missing, as many patients at once as there are cores."""
    if jobs:
        at_once = fits_at_once(jobs[0].device, len(jobs))
        with progress("Explaining", sum(job.epochs for job in jobs)) as step, fixed_threads(at_once):
            run_here(deal(jobs, at_once), threads_per_fit(at_once), step)


def deal(jobs: list[MapsJob], at_once: int) -> list[MapsJob]:
    """Order jobs so that workers, who take one after another, each go through neighbours, which share a fold's model.

    Each of ``at_once`` workers has a run of neighbours of its own, as long as their jobs take equally long.
    """
    length = -(-len(jobs) // at_once)
    runs = [jobs[start : start + length] for start in range(0, len(jobs), length)]
    return [job for turn in zip_longest(*runs) for job in turn if job]


@dataclass(frozen=True)
class _Explainer:
    """Models, patients and folder of an explanation."""

    run: RunFolder
    held_out: HeldOut
    out: ExplanationFolder
    truth: Truth | None
    settings: ExplainSettings
    digest: str

    def explain(self, patients: Sequence[str], methods: Sequence[str]) -> None:
        """Write maps of all patients by all methods, with their scores."""
        rows, figures = [], []
        names = [*methods, RANDOM_MAPS] if self.settings.trust else list(methods)
        jobs = []
        for patient in sorted(patients, key=self.held_out.fold):
            case = self.held_out.case(patient)
            probs = self.held_out.explained(self.held_out.fold(patient)).probs(case)[0]
            case = case.of(int(probs.argmax()))
            rows.append(self._row(patient, case, probs.tolist()))
            if missing := self._missing(patient, case, names):
                jobs.append(self._job(patient, case.target, missing))
        _compute(jobs)
        for patient in (row[PATIENT] for row in rows):
            case = self.held_out.case(patient)
            masks = self._keep_pictures(patient, case)
            for method in names:
                figures += list(self._figures(patient, method, case, self._maps(patient, method), masks))
        write_parquet(self.out.patients, pd.DataFrame(rows).sort_values(PATIENT, ignore_index=True))
        write_parquet(self.out.figures, pd.DataFrame(figures))

    def _row(self, patient: str, case: Case, probs: list[float]) -> dict[str, Any]:
        row = {PATIENT: patient, FOLD: self.held_out.fold(patient), LABEL: self.held_out.label(patient)}
        named = {PROB + c: prob for c, prob in zip(self.held_out.classes, probs, strict=True)}
        used = "+".join(self.held_out.modalities[m] for m in case.modalities)
        return {**row, "target": case.target, **named, MODALITIES_USED: used}

    def _keep_pictures(self, patient: str, case: Case) -> dict[str, np.ndarray]:
        """Write the pictures; returns the masks of a phantom, ``node-`` and ``marks-`` by modality (V, S, S)."""
        arrays = {
            m: (p[0] * 255).round().byte().numpy() for m, p in zip(self.held_out.modalities, case.pictures, strict=True)
        }
        masks = self._masks(patient, case)
        write_arrays(self.out.pictures(patient), {**arrays, **masks})
        return masks

    def _masks(self, patient: str, case: Case) -> dict[str, np.ndarray]:
        if self.truth is None:
            return {}
        masks: dict[str, np.ndarray] = {}
        table = self.held_out.cohort.images.merge(self.truth.pictures.drop(columns=[PATIENT, MODALITY]), on=IMAGE)
        for m, modality in enumerate(self.held_out.modalities):
            blank = np.zeros(case.pictures[m].shape[1:2] + case.pictures[m].shape[3:], dtype=bool)
            masks |= {f"node-{modality}": blank, f"marks-{modality}": blank.copy()}
            rows = table[(table[PATIENT] == patient) & (table[MODALITY] == modality)].sort_values(VIEW)
            for view, row in enumerate(rows.itertuples()):
                width, height = int(getattr(row, WIDTH)), int(getattr(row, HEIGHT))
                node, marks = picture_masks(row, width, height, blank.shape[-1])
                masks[f"node-{modality}"][view], masks[f"marks-{modality}"][view] = node, marks
        return masks

    def _missing(self, patient: str, case: Case, methods: Sequence[str]) -> tuple[str, ...]:
        """List the methods whose stored maps of a patient are absent, or not of this class and these tests."""
        shapes = {m: (p.shape[1], *p.shape[3:]) for m, p in zip(self.held_out.modalities, case.pictures, strict=True)}
        shapes |= {"target": (), "error": (), **(SCORE_SHAPES if self.settings.trust else {})}
        missing = []
        for method in methods:
            stored = load_arrays(self.out.maps(method, patient)) or {}
            found = {name: values.shape for name, values in stored.items() if values.dtype.kind in "fi"}
            if not (shapes.items() <= found.items() and stored["target"] == case.target):
                missing.append(method)
        return tuple(missing)

    def _job(self, patient: str, target: int, methods: tuple[str, ...]) -> MapsJob:
        roots = self.run.root, self.held_out.cohort.root, self.out.root
        return MapsJob(*roots, patient, target, methods, self.settings.trust, self.digest)

    def _maps(self, patient: str, method: str) -> dict[str, np.ndarray]:
        """Load the stored maps by modality."""
        stored = load_arrays(self.out.maps(method, patient))
        assert stored is not None  # written before
        return {m: stored[m] for m in self.held_out.modalities}

    def _figures(
        self, patient: str, method: str, case: Case, maps: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]
    ) -> Iterator[dict[str, Any]]:
        """Yield one row per picture: its share of the positive attribution, and the position of the peak."""
        heat = {m: np.maximum(each, 0) for m, each in maps.items()}
        whole = sum(float(each.sum()) for each in heat.values())
        for m, modality in enumerate(self.held_out.modalities):
            for view in np.flatnonzero(case.present[0, m].numpy()):
                values = heat[modality][view]
                total = float(values.sum())
                y, x = np.unravel_index(int(values.argmax()), values.shape)
                row = {PATIENT: patient, "method": method, MODALITY: modality, VIEW: int(view)}
                row |= {"share": total / whole if whole else np.nan, "peak_x": int(x), "peak_y": int(y)}
                row |= {"against": float(np.maximum(-maps[modality][view], 0).sum()), "for": total}
                for name in ("node", "marks") if masks else ():
                    mask = masks[f"{name}-{modality}"][view]
                    row[f"{name}_area"] = float(mask.mean())
                    row[f"{name}_weight"] = float(values[mask].sum()) / total if total else np.nan
                    row[f"{name}_peak"] = float(mask[y, x]) if total else np.nan
                yield row
