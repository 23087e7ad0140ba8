"""Verification of a frozen model: its digest and hashes, its record, and the figures of its card."""

from collections import Counter

from fusion_ln.errors import VerifyError
from fusion_ln.frozen.card import render_card, render_facts
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import read_hashes, read_scores
from fusion_ln.frozen.moments import read_moments
from fusion_ln.frozen.record import FREEZE_AGAIN, ModelRecord
from fusion_ln.frozen.study import ALL_PATIENTS
from fusion_ln.models.checkpoint import read_checkpoint
from fusion_ln.verify.deviations import compare_page, compare_values


def verify_model(folder: ModelFolder) -> dict[str, str]:
    """Check a model; returns by file what was checked.

    Raises:
        ModelError, RunError: If a file was changed since the model was frozen, or is damaged.
        VerifyError: Naming the first figure that does not follow from scores and record, or a checkpoint that is not
            of the model.
    """
    digest = folder.check_digest()
    record = folder.read_record()
    scores = read_scores(folder.scores, len(record.classes))
    counts = Counter(scores[ALL_PATIENTS].labels.tolist())
    found = {name: counts[label] for label, name in enumerate(record.classes)}
    compare_values(folder.record, {"study": {"patients": record.study.patients}}, {"study": {"patients": found}})
    compare_page(folder.card, folder.card.read_text(encoding="utf-8"), render_card(record, scores[ALL_PATIENTS]))
    compare_page(folder.facts, folder.facts.read_text(encoding="utf-8"), render_facts(record, scores[ALL_PATIENTS]))
    _check_networks(folder, record)
    read_moments(folder.moments, len(record.numbers), list(record.modalities))
    known = sum(len(read_hashes(folder, modality).table) for modality in record.modalities)
    return {
        folder.digest_file.name: f"digest {digest}, every file as it was frozen",
        folder.record.name: f"{sum(found.values())} patients, {len(record.calibration)} subsets calibrated",
        folder.card.name: "written again from record and scores",
        folder.facts.name: "written again from record and scores",
        "weights": f"{len(record.numbers)} models of {', '.join(record.modalities)}",
        folder.pictures.name: f"{known} hashes of training pictures",
    }


def _check_networks(folder: ModelFolder, record: ModelRecord) -> None:
    """Check that every network is of the model's classes, modality and pixels."""
    for number in record.numbers:
        for modality, side in record.modalities.items():
            path = folder.network(modality, number)
            found = read_checkpoint(path)
            held = (found.classes, found.settings.modality, found.settings.fit.image_size, found.fold)
            expected = (record.classes, modality, side, number)
            for name, one, other in zip(("classes", "modality", "pixels", "number"), held, expected, strict=True):
                if one != other:
                    raise VerifyError(f"{path}: {name} {one!r}, but {other!r} was expected.", FREEZE_AGAIN)
