"""What the reviewer's sections show beyond metrics: calibration, decisions, sets, subgroups, disagreements."""

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.calibration import calibration_by_class, reliability, scale_by_fold
from fusion_ln.evaluation.conformal import ConformalMethod, ConformalSets, conformal_sets
from fusion_ln.evaluation.decision import decision_curve, operating_points
from fusion_ln.evaluation.intervals import ALL_CLASSES, metric_intervals
from fusion_ln.evaluation.roc import roc_band
from fusion_ln.evaluation.subgroups import Subgroups, age_bands, subgroups
from fusion_ln.metrics import score
from fusion_ln.predictions import Predictions
from fusion_ln.report.run.results import Model, Results, stack
from fusion_ln.terms import PATIENT, SITE

BEFORE, AFTER = "before scaling", "after scaling"
SENSITIVITY = 0.95  # asked of the operating point
MISSES = 0.1  # share of patients whose conformal set may miss their class
METHODS: tuple[ConformalMethod, ...] = ("lac", "aps")
VARIABLES = {SITE: "site", "sex": "sex", "age": "age band"}
SHOWN_BY_SUBGROUP = ("auc_ovr", "accuracy", "recall")
Found = TypeVar("Found")


class Evidence:
    """The evidence on the models of a report, each part computed when it is first asked for.

    A part that the runs cannot give is empty, and `left_out` holds the reason under the part's name.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.left_out: dict[str, str] = {}

    @cached_property
    def scaled(self) -> dict[str, tuple[Predictions, dict[int, float]]]:
        """By model: predictions after temperature scaling and each fold's temperature, learnt on inner validation."""
        found = {}
        for model in self.results.models:
            if model.inner is None:
                self.left_out["calibration"] = f"{model.title} has no inner validation predictions to learn from"
            elif scaled := self._try("calibration", scale_by_fold, model.predictions, model.inner):
                found[model.name] = scaled
        return found

    @cached_property
    def reliability(self) -> pd.DataFrame:
        """``model, stage, class, bin, n, predicted, observed, ci_low, ci_high`` before and after scaling."""
        return self._by_stage(reliability)

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """``model, stage, class, ece, brier, reliability, resolution, uncertainty, within_bins``; also over classes."""
        return self._by_stage(_calibration)

    @cached_property
    def temperatures(self) -> pd.DataFrame:
        """``model``, then the temperature of each fold; above 1 where the model was too sure."""
        rows = [
            {"model": name, **{f"fold {k}": t for k, t in found.items()}} for name, (_, found) in self.scaled.items()
        ]
        return pd.DataFrame(rows)

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """``model, threshold, net_benefit, ci_low, ci_high, treat_all, treat_none``: malignant against benign."""
        if not self.results.malignant:
            self.left_out["decisions"] = "no class is named benign or normal, so there is no telling what to treat"
            return pd.DataFrame()
        tables = {
            model.name: decision_curve(model.predictions, self.results.malignant) for model in self.results.headline
        }
        return stack(tables)

    @cached_property
    def points(self) -> pd.DataFrame:
        """``model, fold, threshold, found, positive, sensitivity, ...``: chosen on inner validation."""
        tables = {}
        for model in self.results.models:
            if self.results.malignant and model.inner is not None:
                arguments = (model.predictions, model.inner, self.results.malignant)
                found = self._try(
                    "points", lambda *given: operating_points(*given, sensitivity=SENSITIVITY), *arguments
                )
                if found is not None:
                    tables[model.name] = found
        return stack(tables) if tables else pd.DataFrame()

    @cached_property
    def sets(self) -> dict[tuple[str, ConformalMethod], ConformalSets]:
        """Conformal sets by model and method."""
        found = {}
        for model in self.results.models:
            for method in METHODS:
                made = self._try(
                    "sets", lambda m, k: conformal_sets(m.predictions, method=k, alpha=MISSES), model, method
                )
                if made:
                    found[model.name, method] = made
        return found

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """``model, method, class, n, covered, coverage, ci_low, ci_high, mean_size, single, several, empty``."""
        tables = [s.coverage().assign(model=name, method=method) for (name, method), s in self.sets.items()]
        return _first(pd.concat(tables, ignore_index=True), "model", "method") if tables else pd.DataFrame()

    @cached_property
    def undecided(self) -> pd.DataFrame:
        """``patient_id, truth, set, size``: whom the main model's smallest sets (LAC) leave undecided."""
        sets = self.sets.get((self.results.main.name, "lac"))
        return sets.undecided() if sets else pd.DataFrame()

    @cached_property
    def by_variable(self) -> dict[str, dict[str, Subgroups]]:
        """Subgroups of the models of the headline, by what the variable is called and by model."""
        patients = self.results.cohort.patients.set_index(PATIENT)
        found: dict[str, dict[str, Subgroups]] = {}
        for column, title in VARIABLES.items():
            if column not in patients or patients[column].nunique() < 2:
                continue
            levels = age_bands(patients[column]) if column == "age" else patients[column]
            for model in self.results.headline:
                found.setdefault(title, {})[model.name] = subgroups(model.predictions, levels)
        return found

    @cached_property
    def subgroup_metrics(self) -> pd.DataFrame:
        """``model, variable, level, n, <class>..., metric, class, value, ci_low, ci_high`` (no value: not scored)."""
        tables = []
        for variable, models in self.by_variable.items():
            for name, groups in models.items():
                shown = groups.metrics[groups.metrics["metric"].isin(SHOWN_BY_SUBGROUP)]
                table = groups.counts.drop(columns="scored").merge(shown, on="level", how="left")
                tables.append(_first(table.assign(model=name, variable=variable), "model", "variable"))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    @cached_property
    def subgroup_spread(self) -> pd.DataFrame:
        """``model, variable, metric, class, lowest, lowest_level, highest, highest_level, range, q, p``."""
        tables = []
        for variable, models in self.by_variable.items():
            for name, groups in models.items():
                shown = groups.spread[groups.spread["metric"].isin(SHOWN_BY_SUBGROUP)]
                tables.append(_first(shown.assign(model=name, variable=variable), "model", "variable"))
        kept = [table for table in tables if len(table)]
        return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()

    @cached_property
    def subsets(self) -> pd.DataFrame:
        """``model, modalities, patients, metric, class, value, ci_low, ci_high``: the pictures that were given."""
        tables = []
        for model in self.results.models:
            for name, predictions in model.subsets.items():
                arguments = {"n_resamples": self.results.n_resamples}
                table = self._try("subsets", lambda p, a: metric_intervals(p, **a), predictions, arguments)
                if table is not None:
                    table = table.assign(model=model.name, modalities=name, patients=len(predictions.table))
                    tables.append(_first(table, "model", "modalities", "patients"))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    @cached_property
    def disagreements(self) -> pd.DataFrame:
        """``patient_id, truth, <reference>, <candidate>, gain``: whom the two models of the headline class otherwise.

        ``gain`` is the candidate's probability of the truth minus the reference's; the largest gaps stand first.
        """
        reference, candidate = self.results.reference, self.results.candidate
        if reference is None or candidate is None:
            return pd.DataFrame()
        both = set(reference.predictions.patients) & set(candidate.predictions.patients)
        a, b = reference.predictions.of(both), candidate.predictions.of(both)
        classes, rows = np.array(a.classes), np.arange(len(a.labels))
        table = pd.DataFrame(
            {
                PATIENT: a.patients,
                "truth": classes[a.labels],
                reference.name: classes[a.probs.argmax(axis=1)],
                candidate.name: classes[b.probs.argmax(axis=1)],
                "gain": b.probs[rows, b.labels] - a.probs[rows, a.labels],
            }
        )
        other = table[table[reference.name] != table[candidate.name]]
        return other.sort_values("gain", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def roc_band(self, model: Model, of_class: str) -> pd.DataFrame:
        """See `fusion_ln.evaluation.roc.roc_band`."""
        return roc_band(model.predictions, of_class)

    def _by_stage(self, describe: Callable[[Predictions], pd.DataFrame]) -> pd.DataFrame:
        """A table of every model that could be scaled, before and after it."""
        tables = []
        for model in self.results.models:
            if model.name in self.scaled:
                for stage, predictions in ((BEFORE, model.predictions), (AFTER, self.scaled[model.name][0])):
                    tables.append(_first(describe(predictions).assign(model=model.name, stage=stage), "model", "stage"))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def _try(self, part: str, compute: Callable[..., Found], *arguments: object) -> Found | None:
        """What ``compute`` gives, or None with the reason in `left_out` where the patients do not allow it."""
        try:
            return compute(*arguments)
        except PredictionsError as error:
            self.left_out[part] = error.problem
            return None


def _calibration(predictions: Predictions) -> pd.DataFrame:
    """`calibration_by_class` and a last row over all classes: the metrics ``ece`` and ``brier``, the parts' sums."""
    by_class = calibration_by_class(predictions)
    scores = score(predictions.labels, predictions.probs, predictions.classes)
    parts = by_class[["reliability", "resolution", "uncertainty", "within_bins"]].sum()
    overall = {"class": ALL_CLASSES, "ece": scores["ece"][0], "brier": scores["brier"][0], **parts}
    return pd.concat([by_class, pd.DataFrame([overall])], ignore_index=True)


def _first(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table with these columns on the left."""
    return table[[*columns, *table.columns.drop(list(columns))]]
