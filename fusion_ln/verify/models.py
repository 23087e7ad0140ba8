"""Verification of a frozen model: its digest and hashes, its record, and the figures of its card."""

from collections import Counter

from fusion_ln.frozen.card import render_card, render_facts
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import read_scores
from fusion_ln.frozen.networks import check_network
from fusion_ln.frozen.pictures import read_hashes
from fusion_ln.frozen.record import ALL_PATIENTS
from fusion_ln.frozen.unlike import read_moments
from fusion_ln.models.checkpoint import read_checkpoint
from fusion_ln.verify.deviations import compare_page, compare_values


def verify_model(folder: ModelFolder) -> dict[str, str]:
    """Check a model; returns by file what was checked.

    Raises:
        ModelError, RunError: If a file was changed since the model was frozen, is damaged, or is another model's.
        VerifyError: Naming the first figure that does not follow from scores and record.
    """
    digest = folder.check_digest()
    record = folder.read_record()
    scores = read_scores(folder.scores, len(record.classes))
    counts = Counter(scores[ALL_PATIENTS].labels.tolist())
    found = {name: counts[label] for label, name in enumerate(record.classes)}
    compare_values(folder.record, {"study": {"patients": record.study.patients}}, {"study": {"patients": found}})
    compare_page(folder.card, folder.read_page(folder.card), render_card(record, scores[ALL_PATIENTS]))
    compare_page(folder.facts, folder.read_page(folder.facts), render_facts(record, scores[ALL_PATIENTS]))
    for number in record.numbers:
        for modality in record.modalities:
            check_network(read_checkpoint(folder.network(modality, number)), folder, record, modality, number)
    read_moments(folder.moments, len(record.numbers), list(record.modalities))
    known = sum(each.n_own for each in read_hashes(folder, list(record.modalities)).values())
    return {
        folder.digest_file.name: f"digest {digest}, every file as it was frozen",
        folder.record.name: f"{sum(found.values())} patients, {len(record.calibration)} subsets calibrated",
        folder.card.name: "written again from record and scores",
        folder.facts.name: "written again from record and scores",
        **(
            {folder.report.name: "as it was frozen; its predictions stayed in the study"}
            if folder.report.is_file()
            else {}
        ),
        "weights": f"{len(record.numbers)} models of {', '.join(record.modalities)}",
        folder.pictures.name: f"{known} hashes of training pictures",
    }
