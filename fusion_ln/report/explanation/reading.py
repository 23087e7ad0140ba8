"""Reading of the files of an explanation."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.decode.stored import Kind, load_arrays, read_stored_table
from fusion_ln.errors import RunError
from fusion_ln.explanations import EXPLAIN_AGAIN, ExplanationRecord
from fusion_ln.runs import ExplanationFolder
from fusion_ln.terms import FOLD, LABEL, MODALITIES_USED, MODALITY, PATIENT, PROB, RANDOM_MAPS

# Columns of the tables that the page reads.
PATIENTS: dict[str, Kind] = {PATIENT: "text", FOLD: "whole", LABEL: "whole", "target": "whole", MODALITIES_USED: "text"}
SHARE_COLUMNS: dict[str, Kind] = {PATIENT: "text", "method": "text", MODALITY: "text", "share": "number"}
CONTRIBUTIONS: dict[str, Kind] = {
    PATIENT: "text", LABEL: "whole", "class": "text", MODALITY: "text", "present": "yes", "contribution": "number",
}  # fmt: skip
INTERACTIONS: dict[str, Kind] = {PATIENT: "text", "class": "text", "pair": "text", "interaction": "number"}
MAP_SCORES = ("insertion", "deletion", "infidelity", "sensitivity", "randomised", "error")


@dataclass(frozen=True)
class ExplainedPatient:
    """A patient with the prediction that was explained.

    Attributes:
        truth, predicted: True and most probable class.
        modalities: Modalities that the patient has.
        probs: Probability by class.
    """

    id: str
    fold: int
    truth: str
    predicted: str
    modalities: tuple[str, ...]
    probs: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """An explanation: its record and its tables.

    Attributes:
        patients: One row per patient.
        figures: One row per map: the places of its weight.
        contributions, interactions: Empty for a run of one modality.
    """

    folder: ExplanationFolder
    record: ExplanationRecord
    patients: pd.DataFrame
    figures: pd.DataFrame
    contributions: pd.DataFrame
    interactions: pd.DataFrame

    @property
    def classes(self) -> list[str]:
        return list(self.record.classes)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.record.sides)

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the methods, by name."""
        return {method.name: method.title for method in self.record.methods}

    @property
    def simulated(self) -> bool:
        return self.record.simulated

    @cached_property
    def explained(self) -> tuple[ExplainedPatient, ...]:
        """The rows of ``patients``."""
        return tuple(
            ExplainedPatient(
                id=str(row[PATIENT]),
                fold=int(row[FOLD]),
                truth=self.classes[row[LABEL]],
                predicted=self.classes[row["target"]],
                modalities=tuple(row[MODALITIES_USED].split("+")),
                probs={name: float(row[PROB + name]) for name in self.classes},
            )
            for row in self.patients.to_dict("records")
        )

    def maps(self, method: str, patient: str) -> dict[str, np.ndarray]:
        """Read the maps of a patient by modality, each of shape (V, S, S)."""
        held = self._arrays(self.folder.maps(method, patient), self.modalities)
        return {m: held[m] for m in self.modalities}

    def pictures(self, patient: str) -> dict[str, np.ndarray]:
        """Read the pictures of a patient, see `ExplanationFolder.pictures`."""
        return self._arrays(self.folder.pictures(patient), self.modalities)

    def _arrays(self, path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
        held = load_arrays(path)
        if held is None or any(name not in held for name in names):
            raise RunError(f"{path}: is missing or damaged.", EXPLAIN_AGAIN)
        return held

    @cached_property
    def tested(self) -> pd.DataFrame:
        """Scores of the maps: one row per method and patient, a column per measure of `MEASURES` that was tested."""
        rows = []
        for method in [*self.titles, RANDOM_MAPS] if self.record.trust else []:
            for patient in self.patients[PATIENT]:
                held = self._arrays(self.folder.maps(method, patient), MAP_SCORES)
                row = {PATIENT: patient, "method": method}
                row |= {curve: float(held[curve].mean()) for curve in ("insertion", "deletion")}
                row |= {name: float(held[name]) for name in ("infidelity", "sensitivity")}
                rows.append({**row, "randomised": abs(float(held["randomised"][-1])), "error": float(held["error"])})
        return pd.DataFrame(rows)

    def curves(self, name: str) -> dict[str, np.ndarray]:
        """Read a curve of every patient, by method. Each of shape (N, steps)."""
        found = {}
        for method in [*self.titles, RANDOM_MAPS]:
            paths = [self.folder.maps(method, patient) for patient in self.patients[PATIENT]]
            found[method] = np.stack([self._arrays(path, [name])[name] for path in paths])
        return found

    @cached_property
    def places(self) -> pd.DataFrame:
        """Share of the weight in the node and on marks, over all pictures: one row per method and patient."""
        if "node_weight" not in self.figures:
            return pd.DataFrame()
        table = self.figures.assign(
            node=self.figures["node_weight"] * self.figures["share"],
            marks=self.figures["marks_weight"] * self.figures["share"],
        )
        grouped = table.groupby(["method", PATIENT])
        return pd.DataFrame(
            {
                "node_weight": grouped["node"].sum(min_count=1),
                "marks_weight": grouped["marks"].sum(min_count=1),
                "node_peak": grouped["node_peak"].mean(),
            }
        ).reset_index()


def read_explanation(folder: ExplanationFolder) -> Explanation:
    """Read an explanation.

    Raises:
        RunError: If the folder holds none, or an unfinished one.
    """
    if not folder.record.is_file() or not folder.patients.is_file():
        raise RunError(f"{folder.root}: holds no explanation.", "Make one with `fusionln explain RUN`.")
    record = ExplanationRecord.read(folder.record)
    several, probs = len(record.sides) > 1, [PROB + name for name in record.classes]
    return Explanation(
        folder=folder,
        record=record,
        patients=read_stored_table(folder.patients, EXPLAIN_AGAIN, {**PATIENTS, **dict.fromkeys(probs, "number")}),
        figures=read_stored_table(folder.figures, EXPLAIN_AGAIN, SHARE_COLUMNS),
        contributions=read_stored_table(folder.contributions, EXPLAIN_AGAIN, CONTRIBUTIONS)
        if several
        else pd.DataFrame(),
        interactions=read_stored_table(folder.interactions, EXPLAIN_AGAIN, INTERACTIONS) if several else pd.DataFrame(),
    )
