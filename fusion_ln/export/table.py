"""Out-of-fold predictions of a run as CSV, for R and other programs of statistics."""

from pathlib import Path

import numpy as np

from fusion_ln.errors import RunError
from fusion_ln.files.formats import write_csv
from fusion_ln.predictions import read_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.terms import LABEL, MODEL_RECORD

CLASS = "class"  # name of the true class


def write_table(root: Path, path: Path) -> None:
    """Write the out-of-fold predictions of a run, one row per patient.

    Columns: ``patient_id, fold, label, class, logit_<class>..., prob_<class>...``; the probabilities are the networks'
    own, not calibrated.

    Args:
        root: A run.
        path: CSV file.

    Raises:
        RunError: If ``root`` is a model, which keeps no predictions, or has none yet.
        PredictionsError: If its table is damaged.
    """
    if (root / MODEL_RECORD).is_file():
        raise RunError(f"{root}: a model, which holds no patient's prediction.", "Name the run that it comes from.")
    run = RunFolder(root)
    run.read_prediction_record()
    held = read_predictions(run.predictions)
    table = held.table.copy()
    table.insert(table.columns.tolist().index(LABEL) + 1, CLASS, np.array(held.classes)[held.labels])
    write_csv(path, table)
