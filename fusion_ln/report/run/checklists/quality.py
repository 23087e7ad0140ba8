"""METRICS 1.0, the METhodological RadiomICs Score, as far as the runs decide it.

Kocak et al. 2024 (Insights Imaging 15:8). Items are named in our own words. The score is the weight of the items that
hold over the weight of those that apply; five conditions say which apply.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fusion_ln.clinical.columns import is_finding
from fusion_ln.records.kinds import BaselineRecord, TrainedFusionRecord
from fusion_ln.report.run.checklists.answers import answers
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.text import shown_difference

HOLDS, FAILS, AUTHORS, NOT_ASKED = "yes", "no", "the author decides", "does not apply"
QUALITY = {80: "excellent", 60: "good", 40: "moderate", 20: "low", 0: "very low"}  # by least score in percent
CONDITIONS = {
    "segmentation": "the pictures are segmented",
    "automatic": "the segmentation is fully automatic",
    "hand-crafted": "hand-crafted features are extracted",
    "tabular": "tabular data are used",
    "end-to-end": "deep learning runs end to end",
}
# Number, topic, weight, and the conditions under which the item applies.
ITEMS: tuple[tuple[int, str, float, tuple[str, ...]], ...] = (
    (1, "A checklist or guideline was followed", 0.0368, ()),
    (2, "Eligibility criteria that give a representative population", 0.0735, ()),
    (3, "Reference standard of high quality, clearly defined", 0.0919, ()),
    (4, "More than one centre", 0.0438, ()),
    (5, "Imaging as in clinical practice", 0.0292, ()),
    (6, "Imaging protocol with its parameters", 0.0438, ()),
    (7, "Interval between imaging and reference standard", 0.0292, ()),
    (8, "Segmentation described", 0.0337, ("segmentation",)),
    (9, "Automatic segmentation evaluated", 0.0225, ("segmentation", "automatic")),
    (10, "Segmentation of the test set by one reader or tool", 0.0112, ("segmentation",)),
    (11, "Pre-processing fit for the pictures, and described", 0.0622, ()),
    (12, "Standardised software for features", 0.0311, ("hand-crafted",)),
    (13, "Parameters of features or network", 0.0415, ()),
    (14, "Features that are not robust were removed", 0.02, ("tabular",)),
    (15, "Redundant features were removed", 0.02, ("tabular",)),
    (16, "Number of features fits the number of patients", 0.03, ("tabular",)),
    (17, "Robustness of the end-to-end network", 0.02, ("end-to-end",)),
    (18, "Proper partition of the data", 0.0599, ()),
    (19, "Confounders were looked for", 0.03, ()),
    (20, "Metrics fit for the task", 0.0352, ()),
    (21, "Uncertainty", 0.0234, ()),
    (22, "Calibration", 0.0176, ()),
    (23, "One kind of picture alone was used, or shown to be inferior", 0.0117, ()),
    (24, "Compared with a method without imaging features, or clinical value shown", 0.0293, ()),
    (25, "Compared with a simple or classical model", 0.0176, ()),
    (26, "Internal testing", 0.0375, ()),
    (27, "External testing", 0.0749, ()),
    (28, "Data are available", 0.0075, ()),
    (29, "Code is available", 0.0075, ()),
    (30, "Model is available", 0.0075, ()),
)


@dataclass(frozen=True)
class Quality:
    """METRICS of a report.

    Attributes:
        table: ``item, asks_for, weight, holds, answer``, one row per item; ``holds`` is `HOLDS`, `FAILS`, `AUTHORS` or
            `NOT_ASKED`.
        conditions: The conditions that the runs meet.
    """

    table: pd.DataFrame
    conditions: frozenset[str]

    def weight(self, *states: str) -> float:
        """Sum the weights of the items in these states."""
        return float(self.table.loc[self.table["holds"].isin(states), "weight"].sum())

    @property
    def score(self) -> float:
        """Percent of the weight that applies and that the runs alone let hold."""
        return 100 * self.weight(HOLDS) / self.weight(HOLDS, FAILS, AUTHORS)

    @property
    def reachable(self) -> float:
        """The score if every item that the author decides held."""
        return 100 * self.weight(HOLDS, AUTHORS) / self.weight(HOLDS, FAILS, AUTHORS)

    @property
    def summary(self) -> str:
        """The score in words."""
        met = "; ".join(text for name, text in CONDITIONS.items() if name in self.conditions)
        words = [f"{value:.0f} % ({grade(value)})" for value in (self.score, self.reachable)]
        return (
            f"METRICS 1.0: {words[0]} by what the runs show; at most {words[1]} once the author has answered the rest. "
            f"Conditions met: {met or 'none'}; items of the others do not apply."
        )


def grade(score: float) -> str:
    """Name the quality of a score in percent."""
    return next(name for least, name in QUALITY.items() if score >= least)


def quality(report: Report) -> Quality:
    """Decide the items that the runs decide."""
    conditions, decided = met_conditions(report.results), _decide(report)
    rows = []
    for item, topic, weight, needs in ITEMS:
        state, reason = decided.get(item, (AUTHORS, ""))
        if not conditions.issuperset(needs):
            missing = next(CONDITIONS[name] for name in needs if name not in conditions)
            state, reason = NOT_ASKED, f"Asked only if {missing}."
        rows.append((item, topic, weight, state, reason))
    table = pd.DataFrame(rows, columns=["item", "asks_for", "weight", "holds", "answer"])
    return Quality(table, conditions)


NO_COLUMNS = "`--clinical-baseline` sets columns beside the pictures."
READ_COLUMNS = "The columns beside the pictures hold readers' findings; none without these stands beside."


def met_conditions(results: Results) -> frozenset[str]:
    """List the conditions that the runs meet: they segment nothing, and extract no feature by hand."""
    records = [model.record for model in results.models]
    heads = [record.settings.training for record in records if isinstance(record, TrainedFusionRecord)]
    columns = any(head.clinical for head in heads) or any(m.is_clinical and not m.is_chance for m in results.models)
    met = {"tabular"} if columns else set[str]()
    return frozenset(met | ({"end-to-end"} if any(isinstance(record, BaselineRecord) for record in records) else set()))


def _decide(report: Report) -> dict[int, tuple[str, str]]:
    """Give the state and the reason of every item that the runs decide."""
    results, found = report.results, answers(report)
    main, sites = results.main, found.get("sites", "")
    decided = {
        4: (HOLDS, sites) if sites else (FAILS, "The cohort names one site."),
        19: _if(found["subgroups"], "No column of site, sex or age, by which patients could differ."),
        20: (HOLDS, "AUC, confusion matrix and what follows from it; loss by epoch where something was trained."),
        21: (HOLDS, found["uncertainty"]),
        22: (HOLDS, "See Calibration.") if main.inner is not None else (AUTHORS, ""),
    }
    if main.is_table:
        return decided
    nested = main.protocol == "nested"
    stopped = "Early stopping read the held-out fold."
    audited = any(model.audit for model in results.models)
    simple = [model for model in results.models if model.columns]
    unseen = [m for m in simple if not any(is_finding(c, results.cohort.modalities) for c in m.columns)]
    return decided | {
        11: (HOLDS, f"{found['preparation'].removesuffix('.')}; the author adds what was done before the import."),
        13: (HOLDS, f"{found['model']} All settings under How it was done."),
        17: (HOLDS, found["robustness"]) if audited else (FAILS, "`fusionln audit RUN` tests altered pictures."),
        18: (HOLDS, f"{found['partition']} Drawn once, by seed, before any training.") if nested else (FAILS, stopped),
        23: _of_one_modality(results),
        24: (HOLDS, _beside(unseen)) if unseen else (AUTHORS, READ_COLUMNS if simple else NO_COLUMNS),
        25: _if(_beside(simple), "No logistic regression or other simple model stands beside."),
        26: (HOLDS, found["internal"]) if nested else (FAILS, stopped),
        27: (FAILS, found["external"]),
    }


def _beside(models: Sequence[Model]) -> str:
    return f"{models[0].title}; see the table of models." if models else ""


def _if(answer: str, otherwise: str) -> tuple[str, str]:
    return (HOLDS, answer) if answer else (FAILS, otherwise)


def _of_one_modality(results: Results) -> tuple[str, str]:
    """Decide whether one modality alone was used, or compared with the fusion and found inferior."""
    reference, candidate = results.reference, results.candidate
    if results.main.is_single:
        return HOLDS, "One modality alone."
    if reference is None or candidate is None or not reference.is_single:
        return FAILS, "No modality alone stands beside the fusion."
    if shown_difference(results) == "better":
        return HOLDS, f"{reference.title} alone is inferior; see Differences."
    return FAILS, f"{reference.title} alone was compared and not shown to be inferior; see Differences."
