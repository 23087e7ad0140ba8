"""Freezing of a study: the folder that leaves it, without any patient."""

from pathlib import Path

import pandas as pd

from fusion_ln.cohort.checks.hashes import hash_pictures
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.errors import ModelError
from fusion_ln.files.atomic import write_bytes
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import scores_table
from fusion_ln.frozen.profile import profile_of
from fusion_ln.frozen.study import describe_model
from fusion_ln.models.triplet import TrainedRun, load_run
from fusion_ln.records.kinds import BaselineRecord, TrainedFusionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.terms import MODALITY


def freeze(run: RunFolder, out: Path, *, licence: str, cohort: Path | None = None) -> str:
    """Freeze the mean of a finished run's fold models as a folder of its own.

    The folder holds weights, settings, calibration, scores without patients, and hashes of the pictures that it was
    trained on: no id, picture or thumbnail.

    Args:
        run: A finished baseline or fusion.
        out: The new folder.
        licence: Licence of the weights.
        cohort: Folder of the run's cohort, if it has moved.

    Returns:
        The digest that names the model.

    Raises:
        ModelError: If ``out`` holds something else, or no calibration can be learnt.
        RunError, CohortError: If the run or its cohort is not what it was.
    """
    folder = ModelFolder(out)
    with locked(out / LOCK):
        _refuse_other(folder)
        trained = load_run(run)
        record, scores = describe_model(trained, licence)
        opened = open_run_cohort(run, cohort)
        _copy_weights(trained, folder)
        write_parquet(folder.scores, scores_table(scores))
        write_parquet(folder.pictures, _hash_cohort(opened, list(record.modalities)))
        study = record.study.model_copy(update={"profile": profile_of(opened, record.modalities)})
        write_json(folder.record, record.model_copy(update={"study": study}).model_dump(mode="json"))
        return folder.write_digest()


def _refuse_other(folder: ModelFolder) -> None:
    """Refuse a folder that holds anything but an unfinished freezing."""
    if folder.digest_file.is_file():
        raise ModelError(f"{folder.root}: holds a model already.", "Choose another folder with `--out DIR`.")
    names = {path.name for path in folder.root.iterdir()} - {LOCK}
    unfinished = {"weights", folder.scores.name, folder.pictures.name, folder.record.name}
    if names - unfinished:
        raise ModelError(f"{folder.root}: not empty and not a model.", "Choose another folder with `--out DIR`.")


def _copy_weights(trained: TrainedRun, folder: ModelFolder) -> None:
    """Copy the checkpoints of every fold, which hold weights and settings and name no patient."""
    run, record = trained.run, trained.run.read_prediction_record()
    members = [run] if isinstance(record, BaselineRecord) else [RunFolder(run.root / m) for m in record.members]
    for fold in range(len(trained.models)):
        for modality, member in zip(trained.sides, members, strict=True):
            write_bytes(folder.network(modality, fold), member.checkpoint(fold).read_bytes())
        if isinstance(record, TrainedFusionRecord):
            write_bytes(folder.head(fold), run.checkpoint(fold).read_bytes())


def _hash_cohort(cohort: Cohort, modalities: list[str]) -> pd.DataFrame:
    tables = [hash_pictures(cohort, modality).table.assign(**{MODALITY: modality}) for modality in modalities]
    return pd.concat(tables, ignore_index=True)
