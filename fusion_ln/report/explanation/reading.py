"""What an explanation left in its folder, read for its page."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.errors import RunError
from fusion_ln.explanations import ExplanationRecord
from fusion_ln.runs import ExplanationFolder
from fusion_ln.terms import PATIENT, PROB, RANDOM_MAPS


@dataclass(frozen=True)
class Explanation:
    """What an explanation left in its folder.

    Attributes:
        folder: Where.
        record: Content of its explanation.json.
        patients, figures: Its tables.
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
        """Of the methods."""
        return {method.name: method.title for method in self.record.methods}

    @property
    def simulated(self) -> bool:
        return self.record.simulated

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``patients``."""
        return [{str(key): value for key, value in row.items()} for row in self.patients.to_dict("records")]

    def probs(self, patient: dict[str, Any]) -> dict[str, float]:
        """What the model says of a row of ``patients``."""
        return {name: float(patient[PROB + name]) for name in self.classes}

    def maps(self, method: str, patient: str) -> dict[str, np.ndarray]:
        """Maps by modality (V, S, S)."""
        with np.load(self.folder.maps(method, patient)) as held:
            return {m: held[m] for m in self.modalities}

    def pictures(self, patient: str) -> dict[str, np.ndarray]:
        """Everything that `ExplanationFolder.pictures` holds of a patient."""
        with np.load(self.folder.pictures(patient)) as held:
            return dict(held)

    @cached_property
    def tested(self) -> pd.DataFrame:
        """One row per method and patient: every figure of `MEASURES` that there is."""
        rows = []
        for method in [*self.titles, RANDOM_MAPS] if self.record.trust else []:
            for patient in self.patients[PATIENT]:
                with np.load(self.folder.maps(method, patient)) as held:
                    row = {PATIENT: patient, "method": method}
                    row |= {curve: float(held[curve].mean()) for curve in ("insertion", "deletion")}
                    row |= {name: float(held[name]) for name in ("infidelity", "sensitivity")}
                    rows.append(
                        {**row, "randomised": abs(float(held["randomised"][-1])), "error": float(held["error"])}
                    )
        return pd.DataFrame(rows)

    def curves(self, name: str) -> dict[str, np.ndarray]:
        """A curve of `MapScores` of every patient, by method. Each of shape (N, steps)."""
        found = {}
        for method in [*self.titles, RANDOM_MAPS]:
            rows = []
            for patient in self.patients[PATIENT]:
                with np.load(self.folder.maps(method, patient)) as held:
                    rows.append(held[name])
            found[method] = np.stack(rows)
        return found

    @cached_property
    def places(self) -> pd.DataFrame:
        """One row per method and patient: the share of the weight in the node and on marks, over all pictures."""
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
    """Read what an explanation wrote.

    Raises:
        RunError: If the folder holds none, or an unfinished one.
    """
    if not folder.record.is_file() or not folder.patients.is_file():
        raise RunError(f"{folder.root}: holds no explanation.", "Make one with `fusionln explain RUN`.")
    record = ExplanationRecord.read(folder.record)
    several = len(record.sides) > 1
    return Explanation(
        folder=folder,
        record=record,
        patients=pd.read_parquet(folder.patients),
        figures=pd.read_parquet(folder.figures),
        contributions=pd.read_parquet(folder.contributions) if several else pd.DataFrame(),
        interactions=pd.read_parquet(folder.interactions) if several else pd.DataFrame(),
    )
