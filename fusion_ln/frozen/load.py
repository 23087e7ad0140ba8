"""Models that answer: the frozen one of a folder, or a study's, frozen in memory."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusion_ln.compute.threads import one_thread_each
from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import ModelError, RunError
from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.moments import Known, read_moments
from fusion_ln.frozen.record import FREEZE_AGAIN, ModelRecord
from fusion_ln.frozen.study import ALL_PATIENTS, record_model
from fusion_ln.models.backbones import Backbone, create_backbone
from fusion_ln.models.checkpoint import Checkpoint, load_checkpoint, load_head, load_tensors, load_weights
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.triplet import LateFusion, Single, TripletModel, Trunk, assemble, load_run
from fusion_ln.models.undrawn import Undrawn
from fusion_ln.models.weights.network import read_network
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.terms import FOLD, LABEL, MODALITIES_USED
from fusion_ln.threads import cores

SCORE = "score"


@dataclass(frozen=True)
class FrozenModel:
    """A model that answers.

    Attributes:
        root: Its folder; of a study frozen in memory, the run.
        record: Its description.
        models: One per fold of its study or, of a refit, one; in evaluation mode on the CPU.
        scores: Out-of-fold scores by subset of the modalities; under `ALL_PATIENTS` those of all patients.
        known: What the models are used to; None in memory.
        digest: Names the folder's content; None in memory.
        trunks: By modality, what computes its network's feature maps, one mapping per model; empty: the network.
    """

    root: Path
    record: ModelRecord
    models: list[TripletModel]
    scores: Mapping[str, FoldScores]
    known: Known | None = None
    digest: str | None = None
    trunks: Sequence[Mapping[str, Trunk]] = ()

    @property
    def modalities(self) -> list[str]:
        return list(self.record.modalities)

    @property
    def clinical(self) -> list[str]:
        """Clinical columns that the models take besides pictures."""
        return [column.name for column in self.models[0].columns]

    def scores_of(self, subset: str) -> FoldScores:
        """Return the scores of the model from these modalities, named as in ``2d+elastic``."""
        return self.scores.get(subset, self.scores[ALL_PATIENTS])


def load_model(root: Path) -> FrozenModel:
    """Load a model's folder or, in its place, a finished run, which is frozen in memory.

    Raises:
        ModelError: If the folder was changed since it was frozen, or nothing can be learnt about the run's mean.
        RunError: If ``root`` is neither, or see `load_run`.
    """
    folder = ModelFolder(root)
    if not folder.record.is_file():
        if root.is_dir() and not RunFolder(root).record.is_file():
            raise RunError(
                f"{root}: holds neither a model (model.json) nor a run (run.json).",
                "Make a run with `fusionln run fusion`, and a model of it with `fusionln freeze RUN --out MODEL`.",
            )
        return freeze_in_memory(RunFolder(root))
    digest = folder.check_digest()
    record = folder.read_record()

    def load(place: int) -> TripletModel:
        with Undrawn():  # in this thread
            return _load_one(folder, record, place)

    with one_thread_each(), ThreadPoolExecutor(cores()) as pool:
        models = list(pool.map(load, range(len(record.numbers))))
    known = Known(read_moments(folder.moments, len(models), list(record.modalities)), record.farthest)
    return FrozenModel(root, record, models, read_scores(folder.scores, len(record.classes)), known, digest)


def freeze_in_memory(run: RunFolder) -> FrozenModel:
    """Make the model that a run would be frozen to.

    Raises:
        ModelError, RunError: See `load_model`.
    """
    with Undrawn():
        trained = load_run(run)
    record, scores = record_model(trained)
    say(
        f"{run.root}: a run, so its answers are calibrated now and pictures unlike its own are not found; `fusionln "
        "freeze` keeps a model once and for all."
    )
    return FrozenModel(run.root, record, trained.models, scores)


def _load_one(folder: ModelFolder, record: ModelRecord, place: int) -> TripletModel:
    """Load the model at a place of the record's `numbers`."""
    number = record.numbers[place]
    loaded = [_load_network(folder, record, modality, number) for modality in record.modalities]
    if record.head:
        path, settings = folder.head(number), record.head[place]
        sources = _load_sources(folder, loaded) if settings.tokens == "pretrained" else None
        model = assemble(loaded, *load_head(path, number, settings), settings, sources)
        if settings.finetune:
            load_weights(model, load_tensors(path), path)
        return model.eval()
    if record.late_head:
        learnt = record.learnt[place] if record.learnt else None
        return assemble(loaded, LateFusion(record.late_head, learnt)).eval()
    return assemble(loaded, Single()).eval()


def _load_network(
    folder: ModelFolder, record: ModelRecord, modality: str, number: int
) -> tuple[Classifier, Checkpoint]:
    """Load the network of a modality, and check that it is the one that the record describes."""
    model, checkpoint = load_checkpoint(folder.network(modality, number))
    check_network(checkpoint, folder, record, modality, number)
    return model, checkpoint


def check_network(checkpoint: Checkpoint, folder: ModelFolder, record: ModelRecord, modality: str, number: int) -> None:
    """Check that the network that a model's folder holds in this place is the one that the record describes.

    Raises:
        ModelError: If it is of another modality, of other classes, of pictures of another size or of another fold.
    """
    settings, side = checkpoint.settings, record.modalities[modality]
    found = {"modality": settings.modality, "classes": checkpoint.classes, "picture size": settings.fit.image_size}
    expected = {"modality": modality, "classes": record.classes, "picture size": side, "number": number}
    for what, value in (found | {"number": checkpoint.fold}).items():
        if value != expected[what]:
            path = folder.network(modality, number)
            raise ModelError(f"{path}: {what} {value}, but {folder.record.name} says {expected[what]}.", FREEZE_AGAIN)


def _load_sources(folder: ModelFolder, loaded: Sequence[tuple[Classifier, Checkpoint]]) -> dict[str, Backbone]:
    """Load the networks before fine-tuning, by modality."""
    sources = {}
    for _, checkpoint in loaded:
        fit, path = checkpoint.settings.fit, folder.source(checkpoint.settings.modality)
        tensors = load_tensors(path)
        source = create_backbone(fit.backbone, image_size=fit.image_size, network=read_network(path))
        load_weights(source, tensors, path)
        sources[checkpoint.settings.modality] = source
    return sources


def scores_table(scores: Mapping[str, FoldScores]) -> pd.DataFrame:
    """Join the scores of all subsets: ``modalities, fold, label, score``."""
    columns = [
        pd.DataFrame({MODALITIES_USED: subset, FOLD: part.folds, LABEL: part.labels, SCORE: part.scores})
        for subset, part in scores.items()
    ]
    return pd.concat(columns, ignore_index=True)


def read_scores(path: Path, n_classes: int) -> dict[str, FoldScores]:
    """Read the out-of-fold scores by subset of the modalities."""
    table = read_stored_table(
        path, FREEZE_AGAIN, {MODALITIES_USED: "text", FOLD: "whole", LABEL: "whole", SCORE: "number"}
    )
    if ALL_PATIENTS not in set(table[MODALITIES_USED]):
        raise ModelError(f"{path}: lacks the scores of all patients.", FREEZE_AGAIN)
    if not (known := table[LABEL].isin(range(n_classes))).all():
        raise ModelError(
            f"{path}: label {table.loc[~known, LABEL].iloc[0]}; expected 0..{n_classes - 1}.", FREEZE_AGAIN
        )
    return {
        str(subset): FoldScores(part[FOLD].to_numpy(), part[LABEL].to_numpy(), part[SCORE].to_numpy())
        for subset, part in table.groupby(MODALITIES_USED, sort=False)
    }
