"""Models of what is known without pictures, in the folds of the pictures' runs: columns, chance, both stacked."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fusion_ln.clinical.settings import ClinicalSettings
from fusion_ln.cohort.clinical import check_encodable, encode, learn_encoding
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import CohortError, RunError
from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.files.formats import write_json
from fusion_ln.files.locks import locked
from fusion_ln.predictions import (
    UNIT_KEYS,
    Predictions,
    join_tables,
    predictions_from_logits,
    read_inner_predictions,
    read_predictions,
    write_predictions,
)
from fusion_ln.progress import say
from fusion_ln.records.kinds import ClinicalRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.records.parts import LearntParameters, UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import LateSettings, TrainedFusionSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import FOLD, LABEL, LOGIT, PATIENT
from fusion_ln.units import owners_of

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # inverse strengths of the ridge
PENALTY_FOLDS = 5  # of the training part, by which the penalty is chosen
Fitted = tuple[Callable[[pd.DataFrame], np.ndarray], LearntParameters]  # table of patients -> logits (P, C)
FoldTables = dict[int, tuple[pd.DataFrame, pd.DataFrame]]  # by fold: predictions of held-out and of inner patients


def run_clinical(cohort: Cohort, columns: Sequence[str], out: Path, *, seed: int = 0) -> list[RunFolder]:
    """Write ``out/baseline-clinical``, a logistic regression on columns, and ``out/baseline-chance``.

    Both learn from the training part of each fold, without its inner validation patients, as the networks do.

    Raises:
        CohortError: If a column cannot be learnt from, or a training part lacks a class.
        RunError: If a folder holds another run.
    """
    cohort.refuse_unlabelled()
    columns = tuple(dict.fromkeys(columns))
    check_encodable(cohort, columns)
    for column in columns:
        if missing := int(cohort.patients[column].isna().sum()):
            say(f"{column}: {missing} of {len(cohort.patients)} patients have no value; they count as the mean.")
    planned = {
        "baseline-clinical": ClinicalSettings(model="logistic", columns=columns, seed=seed),
        "baseline-chance": ClinicalSettings(model="chance"),
    }
    return [make_clinical(cohort, settings, [], RunFolder(out / name)) for name, settings in planned.items()]


def make_clinical(
    cohort: Cohort, settings: ClinicalSettings, members: Sequence[RunFolder], run: RunFolder
) -> RunFolder:
    """Write the run of some settings; ``members`` are those of a stack, the pictures' run first.

    Raises:
        RunError: See `run_stacked`; or if the folder holds another run.
    """
    if settings.model == "stacked":
        pictures, columns = members
        return run_stacked(cohort, pictures, columns, run)
    return _run(cohort, settings, _fit_logistic if settings.model == "logistic" else _fit_chance, run)


def run_beside(
    cohort: Cohort, columns: Sequence[str], pictures: Sequence[RunFolder], out: Path, *, seed: int = 0
) -> list[RunFolder]:
    """Run the models without pictures, and stack each run of pictures with them, in ``out/<run>-clinical``.

    Raises:
        CohortError, RunError: Before the first fit, see `run_clinical` and `run_stacked`; or if two runs of pictures
            have one name.
    """
    names = [each.name for each in pictures]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise RunError(
            f"Two runs of pictures are called {twice[0]}: both would be stacked in {out / twice[0]}-clinical.",
            "Name each once; of two runs with one name, give one in a command of its own with another `--out DIR`.",
        )
    for each in pictures:
        _read_pictures(cohort, each)
    runs = run_clinical(cohort, columns, out, seed=seed)
    stacked = [run_stacked(cohort, each, runs[0], RunFolder(out / f"{each.name}-clinical")) for each in pictures]
    return [*runs, *stacked]


def run_stacked(cohort: Cohort, pictures: RunFolder, clinical: RunFolder, run: RunFolder) -> RunFolder:
    """Stack a run of pictures with a logistic regression on columns, by the inner validation patients alone.

    The logits are ``w1 * pictures + w2 * columns + b``, with weights of at least 0 that a ridge draws to 1 and
    intercepts that it draws to 0: so few parameters that the few inner patients of a fold can teach them. The columns
    enter by the logits of their regression, which learnt from the many training patients.

    Raises:
        RunError: If one of the two is unfinished, of another kind, or of another cohort or other folds.
    """
    pictured, known = _read_pictures(cohort, pictures), _read_finished(cohort, clinical)
    if not isinstance(known, ClinicalRecord):
        raise RunError(f"{clinical.root}: not a run of columns.", "Name one of `fusionln run baseline --clinical`.")
    settings = known.settings.model_copy(update={"model": "stacked", "pictures": pictured})
    tables: FoldTables = {}
    learnt: list[LearntParameters] = []
    out = _join_logits(read_predictions(pictures.predictions), read_predictions(clinical.predictions))
    inner = _join_logits(
        read_inner_predictions(pictures.inner_predictions), read_inner_predictions(clinical.inner_predictions)
    )
    record = _record(
        cohort, settings, len(out[0]), tuple(os.path.relpath(m.root, run.root) for m in (pictures, clinical))
    )
    with locked(run.lock):
        if run.claim(record) and run.finished:
            return run
        for fold in range(cohort.n_folds):
            (rows, logits), (inner_rows, inner_logits) = (_of_fold(*part, fold) for part in (out, inner))
            weights, intercept = learn_logit_stack(inner_logits, inner_rows[LABEL].to_numpy())
            learnt.append({"weights": weights.tolist(), "intercept": intercept.tolist()})
            tables[fold] = (
                _table(cohort, rows, apply_logit_stack(logits, weights, intercept)),
                _table(cohort, inner_rows, apply_logit_stack(inner_logits, weights, intercept)),
            )
        _write(run, record, cohort, tables, learnt)
    return run


def _read_pictures(cohort: Cohort, run: RunFolder) -> BaselineSettings | LateSettings | TrainedFusionSettings:
    """Read the settings of a finished run of pictures."""
    record = _read_finished(cohort, run)
    if isinstance(record.settings, ClinicalSettings):
        raise RunError(f"{run.root}: a run without pictures.", "Name a baseline or a fusion of pictures.")
    return record.settings


def _read_finished(cohort: Cohort, run: RunFolder) -> PredictionRecord:
    record = run.read_prediction_record()
    if not run.finished:
        raise RunError(f"{run.root}: not finished.", "Give the command that began it again.")
    run.check_cohort(cohort.describe())
    return record


def learn_logit_stack(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Learn weights (M,) and intercepts (C,) of M models' logits (P, M, C) by penalised maximum likelihood."""
    n_models, n_classes = logits.shape[1:]
    truth = np.eye(n_classes)[labels]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercept = parameters[:n_models], parameters[n_models:]
        log_probs = log_softmax(apply_logit_stack(logits, weights, intercept), axis=1)
        gaps = np.exp(log_probs) - truth  # (P, C)
        value = -(log_probs * truth).sum() + 0.5 * np.square(weights - 1).sum() + 0.5 * np.square(intercept).sum()
        gradient = np.concatenate([np.einsum("pc,pmc->m", gaps, logits) + weights - 1, gaps.sum(axis=0) + intercept])
        return float(value), gradient

    start = np.concatenate([np.ones(n_models), np.zeros(n_classes)])
    bounds = [(0.0, None)] * n_models + [(None, None)] * n_classes
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:n_models], found[n_models:]


def apply_logit_stack(logits: np.ndarray, weights: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Weigh the logits of M models (P, M, C). Shape (P, C)."""
    return np.asarray(np.einsum("m,pmc->pc", weights, logits) + intercept)


def _fit_logistic(cohort: Cohort, settings: ClinicalSettings, fold: int, training: pd.DataFrame) -> Fitted:
    """Fit a multinomial logistic regression (ridge), its penalty chosen inside the training part by log loss."""
    encoding = learn_encoding(cohort, settings.columns, fold)
    values, labels = encode(training, encoding), training[LABEL].to_numpy()
    strength = choose_penalty(values, labels, owners_of(training[PATIENT]), settings.seed)
    model = LogisticRegression(C=strength, max_iter=10_000, tol=1e-6).fit(values, labels)

    def logits_of(patients: pd.DataFrame) -> np.ndarray:
        logits = model.decision_function(encode(patients, encoding))
        return logits if logits.ndim > 1 else np.stack([-logits / 2, logits / 2], axis=1)  # two classes have one

    return logits_of, {"inverse_penalty": [strength]}


def choose_penalty(values: np.ndarray, labels: np.ndarray, owners: np.ndarray | None, seed: int) -> float:
    """Choose the penalty with the least cross-validated log loss; 1 where a class has one patient.

    The nodes of a patient, whose number is in ``owners``, stay together.
    """
    losses = np.zeros(len(PENALTIES))
    for learn, test in _penalty_parts(labels, owners, seed):
        model = LogisticRegression(max_iter=1000, warm_start=True)
        for place, strength in enumerate(PENALTIES):
            log_probs = model.set_params(C=strength).fit(values[learn], labels[learn]).predict_log_proba(values[test])
            losses[place] -= log_probs[np.arange(len(test)), np.searchsorted(model.classes_, labels[test])].sum()
    return PENALTIES[int(losses.argmin())] if losses.any() else 1.0


def _penalty_parts(labels: np.ndarray, owners: np.ndarray | None, seed: int) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """Deal patients into up to `PENALTY_FOLDS` parts; none where a class would be absent from what is learnt."""
    of_patients = labels if owners is None else np.unique(np.stack([labels, owners]), axis=1)[0]
    most = min(PENALTY_FOLDS, int(np.unique(of_patients, return_counts=True)[1].min()))
    splitter = StratifiedKFold if owners is None else StratifiedGroupKFold
    for n_parts in range(most, 1, -1):
        parts = list(splitter(n_parts, shuffle=True, random_state=seed).split(labels, labels, owners))
        if all(len(np.unique(labels[learn])) == len(np.unique(labels)) for learn, _ in parts):
            return parts
    return ()


def _fit_chance(cohort: Cohort, settings: ClinicalSettings, fold: int, training: pd.DataFrame) -> Fitted:
    """Predict the class shares of the training part for everybody."""
    shares = np.bincount(training[LABEL], minlength=len(cohort.classes)) / len(training)
    return lambda patients: np.tile(np.log(shares), (len(patients), 1)), {"shares": shares.tolist()}


def _run(
    cohort: Cohort,
    settings: ClinicalSettings,
    fit: Callable[[Cohort, ClinicalSettings, int, pd.DataFrame], Fitted],
    run: RunFolder,
) -> RunFolder:
    """Fit a model in each fold and write the run."""
    record = _record(cohort, settings, len(cohort.patients))
    patients = cohort.patients.set_index(PATIENT, drop=False)
    tables: FoldTables = {}
    learnt: list[LearntParameters] = []
    with locked(run.lock):
        if run.claim(record) and run.finished:
            return run
        for fold in range(cohort.n_folds):
            training, inner = cohort.training_part(fold)
            _need_classes(cohort, patients.loc[training, LABEL], fold)
            logits_of, parameters = fit(cohort, settings, fold, patients.loc[training])
            learnt.append(parameters)
            parts = [patients.loc[part].assign(**{FOLD: fold}) for part in (cohort.held_out(fold), inner)]
            held_out, validation = (_table(cohort, part, logits_of(part)) for part in parts)
            tables[fold] = (held_out, validation)
        _write(run, record, cohort, tables, learnt)
    return run


def _need_classes(cohort: Cohort, labels: pd.Series, fold: int) -> None:
    present = set(labels)
    if missing := [name for label, name in enumerate(cohort.classes) if label not in present]:
        raise CohortError(
            f"cohort {cohort.name}: the training part of fold {fold} has no patient of class {missing[0]!r}.",
            "Draw other folds (`fusionln cohort folds DIR --seed N`), or add patients.",
        )


def _record(
    cohort: Cohort, settings: ClinicalSettings, predicted: int, members: tuple[str, ...] = ()
) -> ClinicalRecord:
    return ClinicalRecord(
        settings=settings,
        cohort=cohort.describe(),
        cohort_path=str(cohort.root.resolve()),
        members=members,
        units=UnitCounts(predicted=predicted, skipped=len(cohort.patients) - predicted),
        **new_origin(),
    )


def _table(cohort: Cohort, rows: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    keys = rows[PATIENT].tolist(), rows[FOLD].to_numpy(), rows[LABEL].to_numpy()
    return predictions_from_logits(cohort.classes, *keys, logits).table


def _write(
    run: RunFolder, record: ClinicalRecord, cohort: Cohort, tables: FoldTables, learnt: Sequence[LearntParameters]
) -> None:
    """Write the run; predictions come last, because a run that has them is finished."""
    predictions = join_tables(cohort.classes, [held_out for held_out, _ in tables.values()])
    inner = Predictions(cohort.classes, pd.concat([inner for _, inner in tables.values()], ignore_index=True))
    run.write_record(record.model_copy(update={"learnt": tuple(learnt)}))
    write_predictions(run.inner_predictions, inner)
    write_json(run.metrics, describe_folds(predictions, cohort.patients[PATIENT]))
    write_predictions(run.predictions, predictions)


def _join_logits(*models: Predictions) -> tuple[pd.DataFrame, np.ndarray]:
    """Join the rows that all models have, by patient and fold. Rows (P) and logits (P, M, C), centred."""
    keys = [FOLD, *UNIT_KEYS]
    rows = models[0].table[[*keys, LABEL]]
    for model in models[1:]:
        rows = rows.merge(model.table[keys], on=keys)
    columns = [LOGIT + name for name in models[0].classes]
    logits = np.stack([rows[keys].merge(model.table, on=keys)[columns].to_numpy() for model in models], axis=1)
    return rows, logits - logits.mean(axis=2, keepdims=True)


def _of_fold(rows: pd.DataFrame, logits: np.ndarray, fold: int) -> tuple[pd.DataFrame, np.ndarray]:
    chosen = (rows[FOLD] == fold).to_numpy()
    return rows[chosen], logits[chosen]
