"""What a report shows: finished runs of one cohort, the models it compares, and the statistics of both."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError
from fusion_ln.evaluation.intervals import ALL_CLASSES, align, metric_intervals, paired_differences
from fusion_ln.metrics import describe
from fusion_ln.predictions import Predictions, read_predictions
from fusion_ln.report.style import modality_colour
from fusion_ln.runs import RunFolder
from fusion_ln.terms import PATIENT, modality_title

HEAD_TITLES = {
    "late-mean": "Mean of probabilities",
    "late-logit": "Mean of logits",
    "late-weighted": "Learnt weights",
    "late-stacked": "Stacking",
}
MACRO = "auc_ovr"  # the metric by which models are chosen and compared
N_RESAMPLES = 2000  # bootstrap draws behind every interval
WEAK_CLASS = "lymphoma"  # what the models of Jiang et al. 2025 miss


@dataclass(frozen=True)
class Model:
    """A finished run as the report shows it.

    Attributes:
        name: Its folder relative to the runs' common parent; names it in every table.
        what: Its modality or the way it fuses, as a person reads it.
        group: The folders above its own up to the common parent, such as the backbone's; empty without any.
        modalities: What it sees, in the cohort's order.
        record: Its run.json.
        predictions: Out-of-fold predictions.
        inner: Predictions of the inner validation patients; ``fold`` is the model's.
        history: Losses per fold and epoch; None where nothing was trained.
    """

    name: str
    what: str
    group: str
    modalities: tuple[str, ...]
    record: dict[str, Any]
    predictions: Predictions
    inner: Predictions
    history: pd.DataFrame | None

    @property
    def title(self) -> str:
        return f"{self.what} · {self.group}" if self.group else self.what

    @property
    def is_fusion(self) -> bool:
        return str(self.record["kind"]) == "fusion"

    @property
    def protocol(self) -> str:
        settings = self.record["settings"]
        parts = [settings, *settings.get("members", {}).values()]
        return "paper" if any(part.get("protocol") == "paper" for part in parts) else "nested"

    def auc_by_fold(self) -> pd.Series:
        """Macro one-vs-rest AUC of each held-out fold, by fold."""
        return _auc_by_fold(self.predictions)

    @cached_property
    def inner_auc(self) -> float:
        """Mean over the folds of the macro AUC on inner validation: what a choice between models may look at."""
        return float(_auc_by_fold(self.inner).mean())


@dataclass(frozen=True)
class Results:
    """The models of one report, single modalities first, each group in the order in which its runs were given."""

    cohort: Cohort
    models: tuple[Model, ...]

    @property
    def singles(self) -> tuple[Model, ...]:
        return tuple(m for m in self.models if not m.is_fusion)

    @property
    def fusions(self) -> tuple[Model, ...]:
        return tuple(m for m in self.models if m.is_fusion)

    @cached_property
    def best_single(self) -> Model | None:
        """The single-modality model with the highest AUC on inner validation; the held-out folds have no say."""
        return max(self.singles, key=lambda m: m.inner_auc, default=None)

    @property
    def fusion(self) -> Model | None:
        """The fusion of the headline: the first that was asked for, so that its result has no say either."""
        return next(iter(self.fusions), None)

    @property
    def main(self) -> Model:
        """The model that the report is about: the fusion or, without one, the best single modality."""
        main = self.fusion or self.best_single
        assert main is not None, "a report has at least one model"
        return main

    @property
    def headline(self) -> tuple[Model, ...]:
        """The best single modality and the fusion of the headline, as far as there are such."""
        return tuple(m for m in (self.best_single, self.fusion) if m is not None)

    @cached_property
    def weak_class(self) -> str:
        """The class to look at first: lymphoma or, in another cohort, the one that the main model misses most."""
        recalls = {c: self.interval(self.main, "recall", c).value for c in self.cohort.classes}
        return WEAK_CLASS if WEAK_CLASS in recalls else min(recalls, key=lambda c: recalls[c])

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """``model, metric, class, value, ci_low, ci_high``: every metric with its 95 % patient-bootstrap interval."""
        tables = {m.name: metric_intervals(m.predictions, n_resamples=N_RESAMPLES) for m in self.models}
        return pd.concat(tables, names=["model"]).reset_index(level="model").reset_index(drop=True)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Each fusion minus the best single modality on the patients of both, a row per fusion, metric and class."""
        tables = {}
        if single := self.best_single:
            for fusion in self.fusions:
                names = (fusion.name, single.name)
                pair = align(fusion.predictions, single.predictions, names=names, common_only=True)
                table = paired_differences(*pair, n_resamples=N_RESAMPLES)
                tables[fusion.name] = table.assign(reference=single.name, patients=len(pair[0].table))
        if not tables:
            return pd.DataFrame()
        return pd.concat(tables, names=["model"]).reset_index(level="model").reset_index(drop=True)

    def colour_of(self, model: Model) -> str:
        """The name in `style.COLOURS` of a model's colour, the same in every figure."""
        return "fusion" if model.is_fusion else modality_colour(model.modalities[0], self.cohort.modalities)

    def interval(self, model: Model, metric: str, of_class: str = ALL_CLASSES) -> Any:
        """The row of ``intervals`` of a model's metric."""
        return self._interval_rows[model.name, metric, of_class]

    def difference(self, fusion: Model, metric: str, of_class: str = ALL_CLASSES) -> Any:
        """The row of ``differences`` of a fusion's metric."""
        return self._difference_rows[fusion.name, metric, of_class]

    @cached_property
    def _interval_rows(self) -> dict[tuple[str, str, str], Any]:
        return _by_key(self.intervals)

    @cached_property
    def _difference_rows(self) -> dict[tuple[str, str, str], Any]:
        return _by_key(self.differences)

    def attainable(self, model: Model) -> dict[str, float] | None:
        """The best macro AUC that any model could reach from these modalities' pictures; phantom cohorts only.

        Returns:
            ``tables``: over the simulation's own distribution; ``cohort``: over the patients of this cohort.
        """
        found = self.cohort.details.get("attainable", {})
        key = "+".join(model.modalities)
        return {of: float(found[of][key]["auc"]) for of in ("tables", "cohort") if key in found.get(of, {})} or None


def read_results(runs: list[RunFolder], cohort: Cohort) -> Results:
    """Read finished runs of one cohort.

    Raises:
        RunError: If a run is unfinished, or belongs to another cohort or to other folds.
        PredictionsError: If its predictions break their schema.
    """
    assert runs, "a report needs a run"
    roots = [run.root.resolve() for run in runs]
    parent = Path(os.path.commonpath([root.parent for root in roots]))
    names = [root.relative_to(parent) for root in roots]
    models = [_read_model(run, name, cohort) for run, name in zip(runs, names, strict=True)]
    return Results(cohort, tuple(sorted(models, key=lambda m: m.is_fusion)))


def _read_model(run: RunFolder, name: Path, cohort: Cohort) -> Model:
    record = run.read_record()
    _check_cohort(run, record, cohort)
    if not run.finished:
        raise RunError(
            f"{run.root}: unfinished, it has no {run.predictions.name} yet.",
            f"The same command again goes on from where it stopped: {record['command']}",
        )
    predictions = read_predictions(run.predictions)
    settings = record["settings"]
    seen = {settings["modality"]} if "modality" in settings else set(settings.get("members", cohort.modalities))
    return Model(
        name=name.as_posix(),
        what=modality_title(settings["modality"]) if "modality" in settings else _head_title(settings["head"]),
        group=" · ".join(name.parts[:-1]),
        modalities=tuple(m for m in cohort.modalities if m in seen),
        record=record,
        predictions=predictions,
        inner=Predictions(predictions.classes, pd.read_parquet(run.inner_predictions)),
        history=pd.read_parquet(run.history) if run.history.is_file() else None,
    )


def _check_cohort(run: RunFolder, record: dict[str, Any], cohort: Cohort) -> None:
    of = record["cohort"]
    for held, expected, what in (
        (of["fingerprint"], cohort.fingerprint, "cohort"),
        (of["folds"], cohort.folds_fingerprint, "folds"),
    ):
        if held != expected:
            raise RunError(
                f"{run.root}: made on other {what} than the report's: "
                f"{of['name']} ({what} {held[:8]}) there, {cohort.name} ({what} {expected[:8]}) here.",
                "Report on the cohort that the run was made on, or run it again on this one.",
            )


def _head_title(head: str) -> str:
    return HEAD_TITLES.get(head, head)


def _auc_by_fold(predictions: Predictions) -> pd.Series:
    """By fold; NaN where a fold lacks a class."""
    folds = describe(predictions)["folds"]
    return pd.Series({fold["fold"]: fold[MACRO] for fold in folds}, dtype=float, name=MACRO)


def _by_key(table: pd.DataFrame) -> dict[tuple[str, str, str], Any]:
    keys = zip(table["model"], table["metric"], table["class"], strict=True)
    return dict(zip(keys, table.itertuples(index=False), strict=True))


def skipped_patients(results: Results) -> pd.DataFrame:
    """``model, patient_id, reason``: who was not predicted, by which model, and why."""
    everyone = set(results.cohort.patients[PATIENT])
    rows = []
    for model in results.models:
        titles = " or ".join(modality_title(m) for m in model.modalities)
        pictured = set().union(*(results.cohort.patients_with(m) for m in model.modalities))
        for patient in sorted(everyone - set(model.predictions.patients)):
            reason = "not predicted" if patient in pictured else f"no picture: {titles}"
            rows.append((model.name, patient, reason))
    return pd.DataFrame(rows, columns=["model", PATIENT, "reason"])
