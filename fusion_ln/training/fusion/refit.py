"""Refit of a finished run on all patients: its networks once more, and what fuses them."""

import shutil
from dataclasses import dataclass
from statistics import median_high

from fusion_ln.cohort.clinical import learn_columns
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.errors import RunError
from fusion_ln.files.locks import locked
from fusion_ln.models.checkpoint import save_head
from fusion_ln.models.fusion.base import HeadEnsemble
from fusion_ln.models.late.base import Learnt
from fusion_ln.models.weights.places import begin_again
from fusion_ln.records.kinds import LateFusionRecord, TrainedFusionRecord
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import LoopSettings
from fusion_ln.training.crossval import FoldJob, unfinished_fits
from fusion_ln.training.fusion.heads import STATES, fit_head, fold_tokens
from fusion_ln.training.fusion.late import finished_baseline, learn_from_held_out
from fusion_ln.training.parts import CROSS_PARTS

HEAD = "head"  # name of a trained head among the parts of a run
AS_ENSEMBLE = "Freeze it as `ensemble`."


@dataclass(frozen=True)
class Refit:
    """A run's models, trained once more on all patients; their files lie in the folder of the fold after the last.

    Attributes:
        fold: Number of that fold.
        epochs: Epochs of the network of each modality, and of a trained head.
        learnt: What a late head learnt from the out-of-fold predictions of all patients.
    """

    fold: int
    epochs: dict[str, int]
    learnt: Learnt | None = None


def refit(run: RunFolder, cohort: Cohort, device: DeviceSettings) -> Refit:
    """Train a finished run once more on all patients, each part for the median of its folds' best epochs.

    Nobody validates, so nothing stops a training early, and the weights are those of its last epoch. Finished parts
    are kept, an interrupted one goes on.

    Raises:
        RunError: If the run, or one of its baselines, tells no such number of epochs.
        DivergedError: If a loss stops being a number.
    """
    record = run.read_prediction_record()
    _check_refittable(run, record)
    members = run.baselines()
    fold, epochs = cohort.n_folds, {}
    parts: list[int | None] = [None]
    if isinstance(record, TrainedFusionRecord) and record.settings.training.tokens == "cross-fitted":
        parts += range(CROSS_PARTS)
    with locked(*(member.lock for member in members)):
        jobs = []
        for member in members:
            settings, stop = finished_baseline(cohort, member), _median_epochs(member)
            _refuse_tuned(member, settings.fit)
            epochs[settings.modality] = stop
            again = begin_again(settings, member)
            jobs += [FoldJob(cohort.root, again, member, fold, part, stop, device=device) for part in parts]
        run_jobs(unfinished_fits(jobs), shares=cohort.n_folds)
    if isinstance(record, LateFusionRecord):
        return Refit(fold, epochs, learn_from_held_out(members, record.settings.head))
    if isinstance(record, TrainedFusionRecord):
        epochs[HEAD] = _median_epochs(run)
        with locked(run.lock):
            _refit_head(run, record, cohort, members, epochs[HEAD], device.one_device)
    return Refit(fold, epochs)


def _refit_head(
    run: RunFolder,
    record: TrainedFusionRecord,
    cohort: Cohort,
    members: list[RunFolder],
    stop: int,
    device: DeviceSettings,
) -> None:
    """Train the head on the tokens that the refitted networks give all patients, and write it."""
    fold, settings, fabric = cohort.n_folds, record.settings.training, make_fabric(device, "32-true")
    file, states = run.checkpoint(fold), run.fold(fold) / STATES
    if file.is_file():
        shutil.rmtree(states, ignore_errors=True)  # if it was killed after its last file
        return
    columns = learn_columns(cohort, settings.clinical, fold)
    tokens = fold_tokens(cohort, members, settings, fold, columns, fabric.device)
    seed = record.settings.seed
    fitted = fit_head(cohort, tokens, settings, fold, seed=seed, fabric=fabric, folder=states, stop=stop)
    heads = fitted.task.model
    assert isinstance(heads, HeadEnsemble)
    save_head(file, heads.state_dict(), settings, heads.shape, columns, fold=fold)
    shutil.rmtree(states, ignore_errors=True)


def _check_refittable(run: RunFolder, record: PredictionRecord) -> None:
    """Refuse a run whose folds do not tell how all patients would be trained on."""
    if isinstance(record, TrainedFusionRecord):
        if record.settings.training.finetune:
            raise RunError(
                f"{run.root}: its record does not tell how long its heads trained before the whole model did, so it "
                "cannot be refitted.",
                AS_ENSEMBLE,
            )
        _refuse_tuned(run, record.settings.training)


def _refuse_tuned(run: RunFolder, settings: LoopSettings) -> None:
    """Refuse settings that differ between the folds."""
    if settings.folds is not None:
        raise RunError(f"{run.root}: each of its folds has settings of its own, so it cannot be refitted.", AS_ENSEMBLE)


def _median_epochs(run: RunFolder) -> int:
    """Return the median of the numbers of epochs after which the models of the folds were best."""
    return median_high(fold.best_epoch + 1 for fold in run.read_prediction_record().folds)
