"""The table of predictions: one row per patient, from a model that never saw the patient."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.decode.stored import Kind, load_table, read_stored_table, wrong_column
from fusion_ln.errors import PredictionsError
from fusion_ln.files.formats import write_parquet
from fusion_ln.terms import FOLD, LABEL, LOGIT, MODALITIES_USED, NOT_MALIGNANT, PATIENT, PROB, severity
from fusion_ln.units import are_nodes, number_patients, patient_of

REMAKE = (
    "Restore it. Or delete the run's predictions.parquet and give the command that made the run again: it writes its "
    "tables anew."
)
UNIT_KEYS = [PATIENT]  # columns that name the unit of a prediction, coarsest first
TOLERANCE = 1e-3  # how far a patient's probabilities may be from summing to 1


@dataclass(frozen=True)
class Predictions:
    """Predictions of P patients, or nodes of patients, over C classes, sorted by patient.

    Attributes:
        classes: Class names, in label order.
        table: Columns ``patient_id, fold, label, logit_<class>..., prob_<class>...``; of a node ``patient_id`` is its
            name as a unit, see `fusion_ln.units`.
    """

    classes: tuple[str, ...]
    table: pd.DataFrame

    @property
    def patients(self) -> list[str]:
        return self.table[PATIENT].tolist()

    @cached_property
    def clusters(self) -> np.ndarray | None:
        """Number of each node's patient, from 0; None where no patient has several nodes. Shape (P,)."""
        if not are_nodes(self.patients):
            return None
        clusters = number_patients(self.patients)
        return clusters if int(clusters.max()) + 1 < len(clusters) else None

    @property
    def folds(self) -> np.ndarray:
        """Outer fold of each patient. Shape (P,)."""
        return self.table[FOLD].to_numpy()

    @property
    def labels(self) -> np.ndarray:
        """True class 0..C-1. Shape (P,)."""
        return self.table[LABEL].to_numpy()

    @property
    def logits(self) -> np.ndarray:
        """Shape (P, C)."""
        return self.table[[LOGIT + c for c in self.classes]].to_numpy()

    @property
    def probs(self) -> np.ndarray:
        """Rows sum to 1. Shape (P, C)."""
        return self.table[[PROB + c for c in self.classes]].to_numpy()

    def of(self, patients: Iterable[str]) -> "Predictions":
        """Select the rows of ``patients``, sorted; KeyError if one has no prediction."""
        if (chosen := sorted(patients)) == self.patients:
            return self
        rows = self.table.set_index(PATIENT).loc[chosen].reset_index(names=PATIENT)
        return Predictions(self.classes, rows)


def by_patient(predictions: Predictions, units: Iterable[str]) -> Predictions:
    """Reduce nodes to patients: each has the label of the worst node and the prediction of the most suspicious one.

    That is the node with the least probability of the classes that are not malignant or, where there are none, of the
    least severe class (see `severity`); the first of equal ones. A patient of whom a node has no prediction is left
    out: that one may be the worst.

    Args:
        predictions: Of patients or of nodes.
        units: Names of all units of the cohort.
    """
    if not are_nodes(predictions.patients):
        return predictions
    missing = {patient_of(unit) for unit in set(units).difference(predictions.patients)}
    predictions = predictions.of(unit for unit in predictions.patients if patient_of(unit) not in missing)
    ranks = np.array(severity(predictions.classes))
    spared = np.isin(predictions.classes, list(NOT_MALIGNANT))
    harmless = predictions.probs[:, spared if spared.any() and not spared.all() else ranks == 0].sum(axis=1)
    table = predictions.table.assign(**{PATIENT: [patient_of(unit) for unit in predictions.patients]})
    shown = table.iloc[np.lexsort((np.arange(len(table)), harmless, table[PATIENT]))].drop_duplicates(PATIENT)
    worst = pd.Series(ranks[predictions.labels]).groupby(table[PATIENT]).max()
    labels = np.argsort(ranks)[worst.loc[shown[PATIENT]].to_numpy()]
    return Predictions(predictions.classes, shown.assign(**{LABEL: labels}).reset_index(drop=True))


def predictions_from_logits(
    classes: tuple[str, ...], patients: Sequence[str], folds: np.ndarray, labels: np.ndarray, logits: np.ndarray
) -> Predictions:
    """Build the table from logits (P, C); probabilities are their softmax, both in float64."""
    logits = logits.astype(np.float64)
    probs = softmax(logits)
    table = pd.DataFrame({PATIENT: list(patients), FOLD: folds.astype(np.int64), LABEL: labels.astype(np.int64)})
    table[[LOGIT + c for c in classes]] = logits
    table[[PROB + c for c in classes]] = probs
    return join_tables(classes, [table])


def join_tables(classes: tuple[str, ...], tables: Iterable[pd.DataFrame]) -> Predictions:
    """Join tables of different units, such as those of the outer folds, sorted by unit."""
    return Predictions(classes, pd.concat(tables).sort_values(UNIT_KEYS, ignore_index=True))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the table, atomically.

    Raises:
        PredictionsError: If a logit or probability is not a finite number.
    """
    _refuse_not_finite(path, predictions.table, predictions.classes)
    write_parquet(path, predictions.table)


def read_predictions(path: Path) -> Predictions:
    """Read and check a table of predictions.

    Raises:
        PredictionsError: If it cannot be read, lacks a column, repeats a patient, holds a label outside 0..C-1,
            a probability that is not a number in [0, 1], or a row that does not sum to 1.
    """
    return check_table(path, _load(path))


def read_inner_predictions(path: Path) -> Predictions:
    """Read and check predictions of inner validation patients, sorted by fold and patient.

    ``fold`` is that of the model; a patient has one row per fold that it served.

    Raises:
        PredictionsError: See `read_predictions`; a patient has two rows in one fold.
    """
    return check_table(path, _load(path), key=[FOLD, *UNIT_KEYS])


def read_subset_predictions(path: Path, *, key: Sequence[str] = UNIT_KEYS) -> dict[str, Predictions]:
    """Read predictions of a fusion from every subset of the modalities; none where there is no such file.

    Args:
        path: A table of predictions with the column ``modalities``.
        key: Columns that name a row, see `check_table`.

    Returns:
        By the names of the modalities, as in ``2d+elastic``; fewer modalities first, else in the file's order.

    Raises:
        PredictionsError: See `read_predictions`.
    """
    if not path.is_file():
        return {}
    table = read_stored_table(path, REMAKE, {MODALITIES_USED: "text"})
    parts = {
        str(name): check_table(path, part.drop(columns=MODALITIES_USED), key=key)
        for name, part in table.groupby(MODALITIES_USED, sort=False)
    }
    return dict(sorted(parts.items(), key=lambda item: item[0].count("+")))


def _load(path: Path) -> pd.DataFrame:
    try:
        return load_table(path)
    except ValueError as error:
        way_out = REMAKE if path.with_name("run.json").is_file() else "Give the folder of a run, or its table."
        raise PredictionsError(f"{path}: {error}; a table of predictions was expected.", way_out) from None


def check_table(path: Path, table: pd.DataFrame, *, key: Sequence[str] = UNIT_KEYS) -> Predictions:
    """Check the rows of a table of predictions, sorted by ``key``, which names a row; ``path`` is for the message.

    Raises:
        PredictionsError: See `read_predictions`.
    """
    classes = tuple(c.removeprefix(PROB) for c in table.columns if c.startswith(PROB))
    _check_columns(path, table, classes)
    return Predictions(classes, _checked_rows(path, table, classes, list(key)))


def _check_columns(path: Path, table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    needed: dict[str, Kind] = {**dict.fromkeys(UNIT_KEYS, "text"), FOLD: "whole", LABEL: "whole"}
    needed |= dict.fromkeys(_values(classes), "number")
    if wrong := wrong_column(table, needed):
        raise PredictionsError(f"{path}: {wrong}.", f"It needs {', '.join(needed)}. {REMAKE}")
    if len(classes) < 2:
        raise PredictionsError(f"{path}: {len(classes)} columns prob_<class>; at least two classes are needed.")


def _checked_rows(path: Path, table: pd.DataFrame, classes: tuple[str, ...], key: list[str]) -> pd.DataFrame:
    if (table[FOLD] < 0).any():
        raise PredictionsError(f"{path}: fold {table[FOLD].min()}; folds count from 0.", REMAKE)
    table = table.astype(dict.fromkeys(_values(classes), np.float64))
    if (repeated := table.duplicated(key)).any():
        raise PredictionsError(
            f"{path}: patient {table.loc[repeated, PATIENT].iloc[0]!r} twice.",
            "A table of predictions has one row per patient: the mean over the patient's pictures.",
        )
    if not table[LABEL].isin(range(len(classes))).all():
        wrong = table.loc[~table[LABEL].isin(range(len(classes))), LABEL].iloc[0]
        raise PredictionsError(f"{path}: label {wrong!r}; expected 0..{len(classes) - 1} ({', '.join(classes)}).")
    _refuse_not_finite(path, table, classes)
    probs = table[[PROB + c for c in classes]].to_numpy(dtype=np.float64)
    valid = (np.abs(probs.sum(axis=1) - 1) <= TOLERANCE) & (probs >= 0).all(axis=1)
    if not valid.all():
        patient = table.loc[~valid, PATIENT].iloc[0]
        raise PredictionsError(
            f"{path}: the probabilities of patient {patient!r} are not numbers from 0 to 1 that sum to 1 "
            f"({', '.join(f'{p:.4g}' for p in probs[~valid][0])})."
        )
    return table.sort_values(key, ignore_index=True)


def _values(classes: tuple[str, ...]) -> list[str]:
    """Name the columns of logits and probabilities."""
    return [prefix + c for prefix in (LOGIT, PROB) for c in classes]


def _refuse_not_finite(path: Path, table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    for column in _values(classes):
        finite = np.isfinite(table[column].to_numpy(dtype=np.float64))
        if not finite.all():
            patient, value = table.loc[~finite, [PATIENT, column]].iloc[0]
            raise PredictionsError(
                f"{path}: {column} of patient {patient!r} is {value}; expected a finite number.",
                "The model's weights or its pictures are damaged: train the run again.",
            )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities along the last axis, as SciPy does, whose functions take long to load."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits into logarithms of probabilities along the last axis."""
    away = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(away - np.log(np.exp(away).sum(axis=-1, keepdims=True)))
