"""Networks and heads of a model's folder, in torch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fusion_ln.compute.threads import one_thread_each
from fusion_ln.errors import ModelError
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.record import FREEZE_AGAIN, ModelRecord
from fusion_ln.models.backbones import Backbone, create_backbone
from fusion_ln.models.checkpoint import Checkpoint, load_checkpoint, load_head, load_tensors, load_weights
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.triplet import LateFusion, Single, TripletModel, assemble
from fusion_ln.models.undrawn import Undrawn
from fusion_ln.models.weights.network import read_network
from fusion_ln.threads import cores


def load_networks(folder: ModelFolder, record: ModelRecord) -> list[TripletModel]:
    """Load the models of a folder whose files are those of its digest, in evaluation mode on the CPU.

    Raises:
        ModelError, RunError: If a checkpoint is missing or damaged, or is not what the record describes.
    """

    def load(place: int) -> TripletModel:
        with Undrawn():  # in this thread
            return _load_one(folder, record, place)

    with one_thread_each(), ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(load, range(len(record.numbers))))


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
