"""Freezing of a study: the folder that leaves it, without any patient."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.errors import ModelError, PredictionsError, RunError
from fusion_ln.explanations import MapTests, read_map_tests
from fusion_ln.files.atomic import write_bytes
from fusion_ln.files.formats import write_json, write_parquet, write_text
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.frozen.card import render_card, render_facts
from fusion_ln.frozen.folder import LOG, ModelFolder
from fusion_ln.frozen.load import scores_table
from fusion_ln.frozen.log import take_over
from fusion_ln.frozen.moments import learn_known, profile_of
from fusion_ln.frozen.pictures import name_presets, write_hashes
from fusion_ln.frozen.record import ALL_PATIENTS, ModelRecord
from fusion_ln.frozen.study import record_model
from fusion_ln.frozen.unlike import write_moments
from fusion_ln.models.backbones import Backbone
from fusion_ln.models.checkpoint import save_tensors
from fusion_ln.models.triplet import TrainedRun, load_refit, load_run
from fusion_ln.models.undrawn import Undrawn
from fusion_ln.models.weights.network import metadata_of
from fusion_ln.progress import say
from fusion_ln.records.kinds import TrainedFusionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.base import Answer
from fusion_ln.settings.devices import AUTO, DeviceSettings
from fusion_ln.threads import one_blas_thread

if TYPE_CHECKING:
    from fusion_ln.training.fusion.refit import Refit

LONGEST_LICENCE, NAMED = 200, 40  # letters; that a message repeats


@one_blas_thread()
def freeze(
    run: RunFolder,
    out: Path,
    *,
    licence: str,
    answer: Answer = "ensemble",
    cohort: Path | None = None,
    device: DeviceSettings = AUTO,
) -> str:
    """Freeze a finished run as a folder of its own: the mean of its fold models, or a refit on all patients.

    The folder holds weights, settings, calibration, scores without patients, hashes of the pictures that it was trained
    on, and the comparison of the run with the single modalities: no id, picture or thumbnail.

    Args:
        run: A finished baseline or fusion.
        out: The new folder.
        licence: Licence of the weights.
        answer: ``ensemble`` for the mean, or ``refit``, see `refit`.
        cohort: Folder of the run's cohort, if it has moved.
        device: Where a refit is computed.

    Returns:
        The digest that names the model.

    Raises:
        ModelError: If ``out`` holds something else, the licence is no name, or no calibration can be learnt.
        RunError, CohortError: If the run or its cohort is not what it was, or the run cannot be refitted.
        DivergedError: If the loss of a refit stops being a number.
    """
    folder, licence = ModelFolder(out), licence.strip()
    if not licence or not licence.isprintable() or len(licence) > LONGEST_LICENCE:
        raise ModelError(
            f"--licence {licence[:NAMED]!r}: not the name of a licence.",
            f"Give its name, at most {LONGEST_LICENCE} letters, as in `--licence CC-BY-4.0`.",
        )
    with locked(out / LOCK):
        _refuse_other(folder)
        with Undrawn():
            trained = load_run(run)
        opened = open_run_cohort(run, cohort)
        refitted = _refit(run, opened, device) if answer == "refit" else None
        record, scores = record_model(trained, licence, refitted)
        shutil.rmtree(folder.weights, ignore_errors=True)  # a stopped freezing's, maybe of another run
        _copy_weights(trained, record, folder)
        write_parquet(folder.scores, scores_table(scores))
        beginnings = write_hashes(folder, opened, list(record.modalities), run)
        known = learn_known(opened, trained.models, load_refit(run, refitted.learnt) if refitted else None)
        write_moments(folder.moments, known.moments)
        added = {
            "preparation": opened.preparation,  # of an earlier version's run, its record does not tell the frame
            "licence": opened.licence or None,
            "profile": profile_of(opened, record.modalities),
            "weights": name_presets(beginnings, trained.models[0].networks),
        }
        study = record.study.model_copy(update=added)
        record = record.model_copy(
            update={"study": study, "farthest": known.threshold, "map_tests": _read_map_tests(run)}
        )
        write_json(folder.record, record.model_dump(mode="json"))
        write_text(folder.card, render_card(record, scores[ALL_PATIENTS]))
        write_text(folder.facts, render_facts(record, scores[ALL_PATIENTS]))
        _write_comparison(folder, run, opened, answer)
        take_over(run.root, folder.root)
        return folder.write_digest()


def _refit(run: RunFolder, cohort: Cohort, device: DeviceSettings) -> "Refit":
    from fusion_ln.training.fusion.refit import refit  # what trains is slow to import

    return refit(run, cohort, device)


def _write_comparison(folder: ModelFolder, run: RunFolder, cohort: Cohort, answer: Answer) -> None:
    from fusion_ln.frozen.comparison import write_comparison  # what draws is slow to import

    folder.report.unlink(missing_ok=True)  # a stopped freezing's, maybe of another run
    try:
        write_comparison(folder.report, run, cohort, answer)
    except PredictionsError as error:
        say(f"{error.problem} So the model has no comparison report. {error.way_out}")


def _read_map_tests(run: RunFolder) -> MapTests | None:
    try:
        return read_map_tests(run)
    except RunError as error:
        say(f"{error.problem} So the model does not name the map that its study trusts most. {error.way_out}")
        return None


def _refuse_other(folder: ModelFolder) -> None:
    """Refuse a folder that holds anything but an unfinished freezing."""
    if folder.digest_file.is_file():
        raise ModelError(f"{folder.root}: holds a model already.", "Choose another folder with `--out DIR`.")
    names = {path.name for path in folder.root.iterdir()} - {LOCK}
    files = (
        folder.scores, folder.pictures, folder.hash_centres, folder.moments, folder.record, folder.card, folder.facts,
        folder.report,
    )  # fmt: skip
    unfinished = {"weights", LOG, *(file.name for file in files)}
    if names - unfinished:
        raise ModelError(f"{folder.root}: not empty and not a model.", "Choose another folder with `--out DIR`.")


def _copy_weights(trained: TrainedRun, described: ModelRecord, folder: ModelFolder) -> None:
    """Copy the checkpoints of every model, which hold weights and settings and name no patient."""
    run, record = trained.run, trained.run.read_prediction_record()
    members = run.baselines()
    for modality, key in zip(trained.sides, trained.models[0].sources, strict=False):
        source = trained.models[0].sources[key]
        network = source.network if isinstance(source, Backbone) else None
        save_tensors(folder.source(modality), source.state_dict(), metadata_of(network))
    for fold in described.numbers:
        for modality, member in zip(trained.sides, members, strict=True):
            write_bytes(folder.network(modality, fold), member.checkpoint(fold).read_bytes())
        if isinstance(record, TrainedFusionRecord):
            write_bytes(folder.head(fold), run.checkpoint(fold).read_bytes())
