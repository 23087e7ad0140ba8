"""Prediction of new patients by a model or, frozen for the occasion, by the models of a run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.hashes import KnownHashes
from fusion_ln.cohort.checks.overlap import find_shared_pictures, known_pictures
from fusion_ln.cohort.checks.thumbnail import grey_copy
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.cohort.regions.alike import Taken, take_alike
from fusion_ln.cohort.source import bullet_list
from fusion_ln.decode.kinds import is_video
from fusion_ln.decode.picture import count_frames
from fusion_ln.errors import CohortError, RunError
from fusion_ln.evaluation.probabilities.costs import Costs, parse_costs
from fusion_ln.evaluation.probabilities.prevalence import parse_prevalence
from fusion_ln.export.engine.choice import choose_engine
from fusion_ln.frozen.answer import Answers, answer
from fusion_ln.frozen.card import warnings_of
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel, open_model
from fusion_ln.frozen.pictures import read_hashes
from fusion_ln.images.bank import ImageBank, empty_bank, open_bank
from fusion_ln.images.patients import PatientPictures, gather_pictures
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import AnswerEngine
from fusion_ln.terms import PATIENT, SHA256, listed
from fusion_ln.units import count_units


@dataclass(frozen=True)
class Predictor:
    """A model, asked about new patients.

    Attributes:
        prevalence: Share of each class among them (C,). None: as among the patients of the model's study.
        costs: Cost of each decision for each true class.
    """

    model: FrozenModel
    prevalence: np.ndarray | None = None
    costs: Costs | None = None

    def predict_pictures(
        self,
        pictures: Mapping[str, Path],
        *,
        frame: int | None = None,
        clinical: Mapping[str, str] = MappingProxyType({}),
    ) -> Answers:
        """Predict one patient.

        Args:
            pictures: Picture file by modality; one that the model does not take is not used.
            frame: Frame of files of several; None: those that the model's study would take or, if it had no such file,
                the first.
            clinical: Value by clinical column; an unknown value is replaced by the mean of the training patients.

        Raises:
            RunError: If there is no picture that the model takes, or it does not take a clinical column.
            CohortError: If a clinical value does not fit its column.
            PictureError: If a picture cannot be read.
        """
        root, taken = self.model.root, self.model.clinical
        if unused := [m for m in pictures if m not in self.model.modalities]:
            say(f"{root} does not take {', '.join(unused)}: not used.")
        if unknown := [column for column in clinical if column not in taken]:
            way_out = f"It takes {', '.join(taken)}." if taken else "It takes pictures only."
            raise RunError(f"{root}: takes no clinical column {unknown[0]!r}.", way_out)
        banks = {}
        for modality, side in self.model.record.modalities.items():
            if modality in pictures:
                views = take_alike(self.model.record.study.preparation, pictures[modality], modality, frame)
                self._remark_on_frames(pictures[modality], views, frame)
                self._remark_on_training_picture(pictures[modality], modality, views)
                prepared = np.stack([prepare_picture(each.pixels, side) for each in views])
                patients = np.repeat("patient", len(views))
                banks[modality] = ImageBank(prepared, patients, np.zeros(len(views), dtype=np.int64))
        return self._predict(banks, pd.DataFrame({PATIENT: ["patient"], **clinical}))

    def predict_cohort(self, cohort: Cohort) -> Answers:
        """Predict every patient of a cohort who has a modality that the model takes.

        Raises:
            RunError: If the model was trained on this cohort or on some of its pictures, or takes none of its
                modalities.
            CohortError: If a clinical value does not fit its column.
            PictureError: If a picture cannot be read.
        """
        if cohort.fingerprint == self.model.record.study.fingerprint:
            raise RunError(
                f"{self.model.root}: its models were trained on the patients of {cohort.root}.",
                "Their out-of-fold predictions, each by the model of the fold that held the patient out, are in "
                f"{self._out_of_fold}.",
            )
        sides = self.model.record.modalities
        present = [m for m in sides if m in cohort.modalities and cohort.patients_with(m)]
        if not present:
            raise RunError(
                f"{self.model.root}: takes {', '.join(sides)}; cohort {cohort.name} has pictures of "
                f"{', '.join(cohort.modalities)} alone.",
                "Name another cohort, or import its pictures under the model's names of modalities.",
            )
        self._remark_on_preparation(cohort)
        seen: dict[str, np.ndarray] = {}

        def look(image: str, pixels: np.ndarray) -> None:
            seen[image] = grey_copy(pixels)

        banks = {m: open_bank(cohort, m, sides[m], look) for m in present}
        self._refuse_training_pictures(cohort, present, seen)
        return self._predict(banks, cohort.patients)

    @cached_property
    def _known(self) -> dict[str, KnownHashes]:
        """Pictures that a frozen model's networks of each modality learnt from."""
        return read_hashes(ModelFolder(self.model.root), self.model.modalities)

    @property
    def _out_of_fold(self) -> str:
        if self.model.digest is None:
            return str(RunFolder(self.model.root).predictions)
        return "the predictions.parquet of the run that the model was frozen from"

    def _remark_on_frames(self, path: Path, taken: Sequence[Taken], asked: int | None) -> None:
        """Say which frames of a file of several are used, and by whose rule."""
        if is_video(path) or (n_frames := count_frames(path)) != 1:
            held = "is a video" if is_video(path) else f"holds {n_frames or 'countless'} frames"
            why = self._reason(asked)
            frames, verb = ("frames", "are") if len(taken) > 1 else ("frame", "is")
            say(f"{path}: {held}; {frames} {listed(str(each.frame) for each in taken)} alone {verb} used{why}.")

    def _reason(self, frame: int | None) -> str:
        """Say whose rule took the frames of a cine, in a clause; nothing where the study had no cine."""
        study = self.model.record.study.preparation
        if study is None or not study.of_cines:
            return ""
        alike = frame is None or frame == study.frame
        return f", as in its study ({study.of_cines})" if alike else f", as asked; its study took {study.of_cines}"

    def _remark_on_training_picture(self, path: Path, modality: str, taken: Sequence[Taken]) -> None:
        """Say so if a picture was trained on; the pictures of a run are compared by their files alone."""
        if self.model.digest:
            how = next(filter(None, (self._known[modality].recognise(each.pixels, each.sha256) for each in taken)), "")
        else:
            try:
                training = open_run_cohort(RunFolder(self.model.root), None)
            except (CohortError, RunError):
                say(f"{self.model.root}: its cohort is not where it was; whether {path} was trained on is unknown.")
                return
            held = set(training.images_of(modality)[SHA256])
            how = "the same file" if held & {each.sha256 for each in taken} else ""
        if how:
            say(
                f"Warning: {path}: {self.model.root} was trained on it ({how}), so the answer is too good. "
                f"The patient's out-of-fold prediction is in {self._out_of_fold}."
            )

    def _remark_on_preparation(self, cohort: Cohort) -> None:
        """Say so if the pictures of a cohort were prepared, or taken from cines, otherwise than those of the study."""
        root, own, other = self.model.root, self.model.record.study.preparation, cohort.preparation
        mine, theirs = (held.of_each if held else "taken whole" for held in (own, other))
        if mine != theirs:
            say(
                f"Warning: {root}: the pictures of its study were {mine}, those of {cohort.name} {theirs}: import them "
                "alike, or its answers may mean nothing."
            )
        if own and other and own.of_cines and other.of_cines and own.of_cines != other.of_cines:
            say(
                f"Warning: {root}: of cines its study took {own.of_cines}, {cohort.name} {other.of_cines}: import them "
                "alike, or its answers may mean less."
            )

    def _refuse_training_pictures(self, cohort: Cohort, modalities: list[str], seen: Mapping[str, np.ndarray]) -> None:
        """Refuse pictures that the models were trained on, under whatever patient they stand.

        Pictures whose grey copies are ``seen``, by image, are not read again.
        """
        if self.model.digest:
            found = [self._known[modality].find(cohort, modality, seen) for modality in modalities]
        else:
            try:
                own = open_run_cohort(RunFolder(self.model.root), None)
            except (CohortError, RunError):
                unknown = f"whether {cohort.name} shares pictures is unknown."
                say(f"{self.model.root}: its cohort is not where it was; {unknown}")
                return
            found = [
                find_shared_pictures(cohort, modality, known_pictures(own, modality), seen) for modality in modalities
            ]
        shared = {image: detail for each in found for image, detail in each.items()}
        if shared:
            number = "1 picture" if len(shared) == 1 else f"{len(shared)} pictures"
            raise RunError(
                f"{number} of {cohort.name} {'was' if len(shared) == 1 else 'were'} used to train {self.model.root}:\n"
                f"{bullet_list([f'{image}: {detail}' for image, detail in shared.items()])}",
                f"Leave their patients out. Out-of-fold predictions of the study are in {self._out_of_fold}.",
            )

    def _predict(self, banks: dict[str, ImageBank], patients: pd.DataFrame) -> Answers:
        """Predict all patients of some banks; ``patients`` holds ``patient_id`` and clinical columns."""
        model = self.model
        if not banks:
            raise RunError(
                f"{model.root}: takes {', '.join(model.modalities)}; no such picture was given.",
                f"Give at least one, as in `--picture {shlex.quote(model.modalities[0])}=FILE`.",
            )
        if missing := [column for column in model.clinical if column not in patients]:
            say(f"Not known, so taken to be the mean of the training patients: {', '.join(missing)}.")
        for warning in warnings_of(model.record):
            say(f"{model.root}: {warning}")
        answers = self.predict_prepared(banks, patients)
        if n := int(answers.unlike.sum()):
            say(
                f"{n} of {count_units(answers.patients.tolist())} have a picture unlike all that the model learnt from "
                "(column `unlike`): their answers mean nothing."
            )
        return answers

    def predict_prepared(self, banks: Mapping[str, ImageBank], patients: pd.DataFrame) -> Answers:
        """Predict all patients of some banks of prepared pictures, without a word about the model.

        Args:
            banks: Pictures by modality, of the size that the model takes; at least one modality that it takes.
            patients: ``patient_id`` and clinical columns.
        """
        return answer(self.model, self.gather(banks), patients, self.prevalence)

    def gather(self, banks: Mapping[str, ImageBank]) -> PatientPictures:
        """Gather the pictures of each patient, of every modality that the model takes and in its order."""
        return gather_pictures(
            {m: banks.get(m) or empty_bank(side) for m, side in self.model.record.modalities.items()}
        )


def load_predictor(
    root: Path, *, prevalence: str = "", costs: str = "", engine: AnswerEngine = "torch", lasting: bool = True
) -> Predictor:
    """Load a model's folder or, in its place, a finished run.

    Args:
        root: The folder.
        prevalence: Shares of the classes among the new patients, see `parse_prevalence`; empty: those of the study.
        costs: Costs of decisions, see `parse_costs`; empty: none.
        engine: What computes networks and fusions, see `choose_engine`.
        lasting: Whether many patients are to be predicted.

    Raises:
        ModelError, RunError: See `open_model` and `choose_engine`.
        SettingsError: If prevalence or costs do not fit the model's classes.
    """
    model = choose_engine(open_model(root), engine, lasting=lasting)
    shares = parse_prevalence(prevalence, model.record.classes) if prevalence else None
    if shares is not None:
        say("Shifted to the prevalence given: exact only if pictures of a class look alike there and in the study.")
    return Predictor(model, shares, parse_costs(costs, model.record.classes) if costs else None)
