"""Verification of one run: its tables against each other, its cohort, and the models that it fused."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.special import softmax

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import VerifyError
from fusion_ln.evaluation.folds import OF_WHOLE_PATIENTS, describe_folds
from fusion_ln.files.formats import parse
from fusion_ln.predictions import REMAKE, Predictions, check_table, read_inner_predictions, read_predictions
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord, LateFusionRecord
from fusion_ln.records.origin import hardware, installed_versions
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.terms import FOLD, INNER, LABEL, LOGIT, MODALITIES_USED, PATIENT, PROB
from fusion_ln.units import are_nodes
from fusion_ln.verify.deviations import DIGITS, WAY_OUT, compare_frames, compare_values, deviation, same

KEYS = {
    "predictions": (PATIENT,),
    "inner_predictions": (FOLD, PATIENT),
    "subset_predictions": (MODALITIES_USED, PATIENT),
}
FITTED_DIGITS = 6  # of what was learnt with other packages or on another processor: an optimiser has a tolerance


def verify_run(run: RunFolder, cohort: Cohort | None) -> str:
    """Recompute what follows from the tables of a finished run; returns what was checked, in a few words.

    Args:
        run: The run.
        cohort: The cohort that it was made on; without it labels, folds, late fusions and the figures of whole
            patients are not checked.

    Raises:
        VerifyError: Naming the first figure that does not follow.
        RunError, PredictionsError: If a file is damaged or breaks its format.
    """
    record = run.read_prediction_record()
    predictions = read_predictions(run.predictions)
    checked = [f"{len(predictions.table)} predictions"]
    _check_probabilities(run.predictions, predictions)
    _check_counts(run, record, predictions)
    tables = [(run.predictions, predictions)]
    if run.inner_predictions.is_file():
        tables.append((run.inner_predictions, read_inner_predictions(run.inner_predictions)))
        _check_probabilities(*tables[-1])
        checked.append(f"{len(tables[-1][1].table)} of inner validation")
    if run.subset_predictions.is_file():
        subsets = _read_subsets(run.subset_predictions)
        _check_probabilities(run.subset_predictions, subsets)
        tables.append((run.subset_predictions, subsets))
        checked.append(f"{len(subsets.table)} from subsets")
    if cohort is not None:
        for path, table in tables:
            _check_patients(path, table, cohort, inner=path == run.inner_predictions)
        checked.append("folds")
    if run.metrics.is_file():
        checked.append(_check_metrics(run.metrics, predictions, cohort))
    if isinstance(record, BaselineRecord) and run.history.is_file():
        _check_history(run, record)
        checked.append("history")
    if _check_folds(run, record):
        checked.append("tables of the folds")
    if isinstance(record, LateFusionRecord | ClinicalRecord) and cohort is not None:
        _make_again(run, record, cohort)
        checked.append("fused again" if isinstance(record, LateFusionRecord) else "fitted again")
    return ", ".join(checked)


def _check_metrics(path: Path, predictions: Predictions, cohort: Cohort | None) -> str:
    """Compare metrics.json with the predictions, figures by patient only with a cohort; returns what was checked."""
    held = _read_json(path)
    expected = describe_folds(predictions, predictions.patients if cohort is None else cohort.patients[PATIENT])
    if cohort is None and are_nodes(predictions.patients) and isinstance(held, dict):
        expected |= {name: held[name] for name in OF_WHOLE_PATIENTS if name in held}
    compare_values(path, held, expected)
    return path.name


def _read_json(path: Path) -> object:
    try:
        return parse(path.read_text(encoding="utf-8"), json.loads)
    except ValueError as error:
        raise VerifyError(f"{path}: not valid JSON ({error}).", WAY_OUT) from None


def _read_subsets(path: Path) -> Predictions:
    table = read_stored_table(path, REMAKE, {MODALITIES_USED: "text"})
    checked = check_table(path, table, key=[MODALITIES_USED, PATIENT])
    return Predictions(checked.classes, checked.table)


def _check_probabilities(path: Path, predictions: Predictions) -> None:
    """Check that the probabilities are the softmax of the logits."""
    expected = softmax(predictions.logits.astype(np.float64), axis=-1)
    for number, name in enumerate(predictions.classes):
        for row, value in enumerate(predictions.probs[:, number].tolist()):
            if not same(value, float(expected[row, number])):
                place = f"{PATIENT} {predictions.patients[row]}, column {PROB}{name}"
                raise deviation(path, place, value, f"{expected[row, number]} from its logits ({LOGIT}*)")


def _check_counts(run: RunFolder, record: PredictionRecord, predictions: Predictions) -> None:
    if record.cohort.classes != predictions.classes:
        raise deviation(run.predictions, "classes", ", ".join(predictions.classes), ", ".join(record.cohort.classes))
    if record.units is None:
        return
    for key, value, expected in (
        ("predicted", record.units.predicted, len(predictions.table)),
        ("skipped", record.units.skipped, record.cohort.n_units - len(predictions.table)),
    ):
        if value != expected:
            raise deviation(run.record, f"units.{key}", value, f"{expected}, by predictions.parquet")


def _check_patients(path: Path, predictions: Predictions, cohort: Cohort, *, inner: bool) -> None:
    """Check that each row has the label of the cohort, and its fold; inner patients the mark of the model's fold."""
    truth = cohort.patients[[PATIENT, LABEL]].merge(cohort.folds, on=PATIENT).set_index(PATIENT)
    for patient, fold, label in predictions.table[[PATIENT, FOLD, LABEL]].itertuples(index=False, name=None):
        if patient not in truth.index:
            raise deviation(path, f"{PATIENT} {patient}", "a row", f"none: the cohort {cohort.name} has no such one")
        known = truth.loc[patient]
        if label != known[LABEL]:
            raise deviation(path, f"{PATIENT} {patient}, column {LABEL}", label, f"{known[LABEL]}, as in the cohort")
        if inner and not known.get(f"{INNER}{fold}", default=False):
            place = f"{PATIENT} {patient}, column {FOLD}"
            raise deviation(path, place, fold, "a fold that the patient serves as inner validation")
        if not inner and fold != known[FOLD]:
            raise deviation(path, f"{PATIENT} {patient}, column {FOLD}", fold, f"{known[FOLD]}, as in the cohort")


def _check_history(run: RunFolder, record: BaselineRecord) -> None:
    """Check what the record says of each fold's epochs against the history."""
    history = read_stored_table(run.history, REMAKE, {FOLD: "whole", "epoch": "whole", "val_loss": "number"})
    for fit in record.folds:
        epochs = history[history[FOLD] == fit.fold]
        expected = {"epochs": len(epochs)}
        if len(epochs):
            expected["best_epoch"] = int(epochs["epoch"].iloc[int(epochs["val_loss"].to_numpy().argmin())])
        for key, value in expected.items():
            if (found := getattr(fit, key)) != value:
                raise deviation(run.record, f"folds, fold {fit.fold}, {key}", found, f"{value}, by history.parquet")


def _check_folds(run: RunFolder, record: PredictionRecord) -> int:
    """Compare the tables in the folders of the folds with the run's, which were joined of them; returns their number.

    Late fusions have none.
    """
    count = 0
    keys = {
        "predictions": (PATIENT,),
        "inner_predictions": (FOLD, PATIENT),
        "subset_predictions": (MODALITIES_USED, PATIENT),
        "inner_subset_predictions": (MODALITIES_USED, FOLD, PATIENT),
        "history": (FOLD, "epoch"),
    }
    for name, key in keys.items():
        joined = getattr(run, name)
        places = [run.fold(number) / joined.name for number in range(record.cohort.n_folds)]
        if not any(place.is_file() for place in places):
            continue
        whole = _read_keyed(joined, key)
        for number, place in enumerate(places):
            if place.is_file():
                compare_frames(place, _read_keyed(place, key), whole[whole[FOLD] == number], key)
                count += 1
    return count


def _make_again(run: RunFolder, record: LateFusionRecord | ClinicalRecord, cohort: Cohort) -> None:
    """Fuse the members, or fit the columns, once more and compare every table, and what was learnt."""
    from fusion_ln.training.clinical import make_clinical
    from fusion_ln.training.fusion.late import fuse_late

    members = [RunFolder((run.root / member).resolve()) for member in record.members]
    with TemporaryDirectory(prefix="fusionln-verify-") as folder:
        again = RunFolder(Path(folder) / "run")
        if isinstance(record, ClinicalRecord):
            make_clinical(cohort, record.settings, members, again)
        else:
            fuse_late(cohort, members, record.settings.head, again)
        digits = _digits(record)
        for name, key in KEYS.items():
            path = getattr(run, name)
            if path.is_file():
                compare_frames(path, _read_keyed(path, key), _read_keyed(getattr(again, name), key), key, digits)
        learnt = again.read_record()
        assert isinstance(learnt, LateFusionRecord | ClinicalRecord)
        found, expected = (r.model_dump(mode="json").get("learnt") for r in (record, learnt))
        compare_values(run.record, found, expected, "learnt", digits)


def _digits(record: LateFusionRecord | ClinicalRecord) -> int:
    """Count the digits to which a model that is made once more must agree."""
    here = record.versions == installed_versions() and record.hardware.processor == hardware().processor
    return DIGITS if here or not record.learnt else FITTED_DIGITS


def _read_keyed(path: Path, key: tuple[str, ...]) -> pd.DataFrame:
    return read_stored_table(path, REMAKE, {name: "whole" if name in (FOLD, "epoch") else "text" for name in key})
