"""Prediction of new patients by the models of a run."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.special import softmax

from fusion_ln.cohort.checks.overlap import find_shared_pictures, known_pictures
from fusion_ln.cohort.clinical import standardise
from fusion_ln.cohort.cohort import Cohort, open_run_cohort
from fusion_ln.cohort.source import bullet_list
from fusion_ln.decode.picture import read_picture
from fusion_ln.errors import CohortError, PredictionsError, RunError
from fusion_ln.evaluation.probabilities.costs import Costs, parse_costs
from fusion_ln.evaluation.probabilities.maps import CalibrationMap, fit_maps
from fusion_ln.evaluation.probabilities.prevalence import parse_prevalence
from fusion_ln.images.bank import ImageBank, open_bank, prepare_picture
from fusion_ln.images.patients import gather_pictures
from fusion_ln.models.triplet import TrainedRun, load_run, logits_of
from fusion_ln.predictions import read_inner_predictions
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.terms import MODALITIES_USED, PATIENT, PROB

PREDICTED, DECISION, EXPECTED_COST, PROBABILITIES = "predicted", "decision", "expected_cost", "probabilities"
RAW = "raw_"  # + class name: probability as the models give it
BATCH = 16  # patients


@dataclass(frozen=True)
class Predictor:
    """Models of all folds of a run, whose mean probability is the prediction.

    Predictions are tables with the columns ``patient_id, predicted, prob_<class>..., modalities, probabilities,
    raw_<class>...``, one row per patient, sorted. ``modalities`` names the pictures that were used, such as
    ``2d+elastic``; ``probabilities`` says what ``prob_<class>`` are: calibrated, shifted to a prevalence besides, or
    raw. Where there are costs, ``decision, expected_cost`` follow ``predicted``.

    Attributes:
        trained: The models.
        maps: Calibration map of each model; none where the run has nothing to learn them from.
        prevalence: Share of each class in the population of the new patients. Shape (C,). None: as among the
            calibration patients.
        costs: Cost of each decision for each true class.
    """

    trained: TrainedRun
    maps: tuple[CalibrationMap, ...] = ()
    prevalence: np.ndarray | None = None
    costs: Costs | None = None

    @property
    def modalities(self) -> list[str]:
        """Modalities that the run takes."""
        return list(self.trained.sides)

    @property
    def clinical(self) -> list[str]:
        """Clinical columns that the run takes."""
        return self.trained.clinical

    def predict_pictures(
        self, pictures: Mapping[str, Path], *, frame: int = 0, clinical: Mapping[str, str] = MappingProxyType({})
    ) -> pd.DataFrame:
        """Predict one patient.

        Args:
            pictures: Picture file by modality; one that the run does not take is not used.
            frame: Frame of a multi-frame picture.
            clinical: Value by clinical column; an unknown value is replaced by the mean of the training patients.

        Raises:
            RunError: If there is no picture that the run takes, or it does not take a clinical column.
            CohortError: If a clinical value does not fit its column.
            PictureError: If a picture cannot be read.
        """
        run = self.trained.run.root
        if unused := [m for m in pictures if m not in self.modalities]:
            say(f"{run} does not take {', '.join(unused)}: not used.")
        if unknown := [column for column in clinical if column not in self.clinical]:
            taken = f"It takes {', '.join(self.clinical)}." if self.clinical else "It takes pictures only."
            raise RunError(f"{run}: takes no clinical column {unknown[0]!r}.", taken)
        banks = {}
        for modality in self.modalities:
            if modality in pictures:
                side = self.trained.sides[modality]
                picture = prepare_picture(read_picture(pictures[modality], frame=frame), side)
                banks[modality] = ImageBank(picture[None], np.array(["patient"]), np.zeros(1, dtype=np.int64))
        return self._predict(banks, pd.DataFrame({PATIENT: ["patient"], **clinical}))

    def predict_cohort(self, cohort: Cohort) -> pd.DataFrame:
        """Predict every patient of a cohort who has a modality that the run takes.

        Raises:
            RunError: If the run was trained on this cohort or on some of its pictures, or takes none of its modalities.
            CohortError: If a clinical value does not fit its column.
            PictureError: If a picture cannot be read.
        """
        run = self.trained.run
        if cohort.fingerprint == run.read_prediction_record().cohort.fingerprint:
            raise RunError(
                f"{run.root}: its models were trained on the patients of {cohort.root}.",
                "Their out-of-fold predictions, each by the model of the fold that held the patient out, are in "
                f"{run.predictions}.",
            )
        present = [m for m in self.modalities if m in cohort.modalities and cohort.patients_with(m)]
        self._refuse_training_pictures(cohort, present)
        banks = {m: open_bank(cohort, m, self.trained.sides[m]) for m in present}
        return self._predict(banks, cohort.patients)

    def _refuse_training_pictures(self, cohort: Cohort, modalities: list[str]) -> None:
        """Refuse pictures that the models were trained on, under whatever patient they stand."""
        run = self.trained.run
        try:
            training = open_run_cohort(run, None)
        except (CohortError, RunError):
            say(f"{run.root}: its cohort is not where it was; whether {cohort.name} shares pictures is unknown.")
            return
        shared: dict[str, str] = {}
        for modality in modalities:
            shared |= find_shared_pictures(cohort, modality, known_pictures(training, modality))
        if shared:
            raise RunError(
                f"{len(shared)} pictures of {cohort.name} were used to train {run.root}:\n"
                f"{bullet_list([f'{image}: {detail}' for image, detail in shared.items()])}",
                f"Leave their patients out. Out-of-fold predictions of the run's patients are in {run.predictions}.",
            )

    def _predict(self, banks: dict[str, ImageBank], patients: pd.DataFrame) -> pd.DataFrame:
        """Predict all patients of some banks; ``patients`` holds ``patient_id`` and clinical columns."""
        if not banks:
            raise RunError(
                f"{self.trained.run.root}: takes {', '.join(self.modalities)}; no such picture was given.",
                f"Give at least one, as in `--picture {shlex.quote(self.modalities[0])}=FILE`.",
            )
        if missing := [column for column in self.clinical if column not in patients]:
            say(f"Not known, so taken to be the mean of the training patients: {', '.join(missing)}.")
        if self.trained.simulated:
            say("These models were trained on simulated patients: they say nothing about real ones.")
        pictures = gather_pictures({m: banks.get(m) or _empty_bank(side) for m, side in self.trained.sides.items()})
        rows = patients[patients[PATIENT].isin(pictures.patients)]
        models = [(model, standardise(rows, model.columns)) for model in self.trained.models]
        parts, raw_parts, present = [], [], []
        for start in range(0, len(pictures.patients), BATCH):
            positions = np.arange(start, min(start + BATCH, len(pictures.patients)))
            batch = pictures.cut(positions)
            logits = [logits_of(model, batch.with_clinical(clinical)) for model, clinical in models]
            by_fold = [softmax(fold, axis=-1) for fold in logits]
            raw_parts.append(np.mean(by_fold, axis=0))
            parts.append(np.mean(self._calibrate(by_fold), axis=0))
            present += batch.modalities_present.tolist()
        probs, raw = np.concatenate(parts), np.concatenate(raw_parts)
        if not (finite := np.isfinite(raw).all(axis=1)).all():
            raise RunError(
                f"{self.trained.run.root}: its models give patient {pictures.patients[~finite][0]!r} values that are "
                "not finite numbers.",
                "Look at the patient's pictures (`fusionln cohort check`), or train the run again.",
            )
        seen = np.array(present)
        if self.maps and (partial := int((~seen.all(axis=1)).sum())):
            say(f"{partial} of {len(seen)} patients lack a modality; the calibration was learnt on all kinds together.")
        return self._table(pictures.patients, probs, raw, seen)

    def _calibrate(self, by_fold: list[np.ndarray]) -> list[np.ndarray]:
        """Calibrate each fold's probabilities (P, C) by its own map, shifted to the prevalence."""
        if not self.maps:
            return by_fold
        return [found.apply(probs, self.prevalence) for found, probs in zip(self.maps, by_fold, strict=True)]

    def _table(self, patients: np.ndarray, probs: np.ndarray, raw: np.ndarray, present: np.ndarray) -> pd.DataFrame:
        """Build the table of predictions from calibrated and raw probabilities (P, C) and presence masks (P, M)."""
        classes = self.trained.classes
        table = pd.DataFrame({PATIENT: patients, PREDICTED: [classes[i] for i in probs.argmax(axis=1)]})
        if self.costs:
            chosen = self.costs.decide(probs)
            table[DECISION] = [self.costs.decisions[i] for i in chosen]
            table[EXPECTED_COST] = self.costs.expected(probs)[np.arange(len(chosen)), chosen]
        table[[PROB + c for c in classes]] = probs
        table[MODALITIES_USED] = ["+".join(np.array(self.modalities)[mask]) for mask in present]
        shifted = "" if self.prevalence is None else ", shifted to the prevalence"
        table[PROBABILITIES] = f"calibrated{shifted}" if self.maps else "raw"
        table[[RAW + c for c in classes]] = raw
        return table


def load_predictor(run: RunFolder, *, prevalence: str = "", costs: str = "") -> Predictor:
    """Load the models of all folds of a finished run, with the calibration that its inner validation patients teach.

    Args:
        run: Folder of the run.
        prevalence: Shares of the classes among the new patients, see `parse_prevalence`; empty: as among the
            calibration patients.
        costs: Costs of decisions, see `parse_costs`; empty: none.

    Raises:
        RunError: See `load_run`; there is a prevalence, or there are costs, and nothing to calibrate with.
        SettingsError: If prevalence or costs do not fit the run's classes.
    """
    trained = load_run(run)
    shares = parse_prevalence(prevalence, trained.classes) if prevalence else None
    table = parse_costs(costs, trained.classes) if costs else None
    try:
        maps = fit_maps(read_inner_predictions(run.inner_predictions), list(range(len(trained.models))))
    except PredictionsError as error:
        if prevalence or costs:
            raise RunError(
                f"{run.root}: {error.problem} Without calibrated probabilities there is nothing to shift or to weigh.",
                "Leave out --prevalence and --costs.",
            ) from None
        say(f"Raw probabilities, not calibrated: {error.problem}")
        return Predictor(trained)
    say(_describe(maps, shares is not None))
    return Predictor(trained, tuple(maps.values()), shares, table)


def _describe(maps: Mapping[int, CalibrationMap], shifted: bool) -> str:
    """Describe the calibration in a sentence or two."""
    counts = sorted({found.patients for found in maps.values()})
    patients = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    temperatures = [found.temperature for found in maps.values()]
    text = (
        f"Calibrated probabilities: each fold's map was learnt on its {patients} inner validation patients "
        f"(temperature {min(temperatures):.2f} to {max(temperatures):.2f})."
    )
    if not shifted:
        return text
    return f"{text} Shifted to the prevalence given: exact only if pictures of a class look alike there and here."


def _empty_bank(side: int) -> ImageBank:
    return ImageBank(np.zeros((0, 3, side, side), dtype=np.uint8), np.array([], dtype=str), np.array([], dtype=int))
