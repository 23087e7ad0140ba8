"""A model and its cohort, described for those who meet it on a page."""

from functools import cache
from pathlib import Path
from typing import Literal

from fusion_ln.errors import RunError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.explanations import MapTests, read_map_tests
from fusion_ln.frozen import card
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.log import LogEntry, read_log
from fusion_ln.frozen.pictures import read_hashes
from fusion_ln.manifests import load_manifest, manifest_names
from fusion_ln.runs import RunFolder
from fusion_ln.terms import KNOWN_MODALITIES, modality_title

# Words for programs, of warnings that are the same for every model.
WARNING_CODES: dict[str, Literal["no-device", "simulated", "paper"]] = {
    card.NOT_A_DEVICE: "no-device",
    card.SIMULATED_MODEL: "simulated",
    card.PAPER: "paper",
}
OTHER_COLOUR = ("#5b5bd6", "#9a9af0")  # of a modality that only the cohort knows


def warnings_of(model: FrozenModel) -> list[str]:
    """List what whoever reads an answer of the model must know."""
    return [card.NOT_A_DEVICE, *card.warnings_of(model.record)]


def describe_model(model: FrozenModel) -> dict[str, object]:
    """Describe a model; coverage: aim of its sets; colours: on a light and on a dark page."""
    record, tests = model.record, map_tests_of(model)
    return {
        "title": record.title,
        "digest": model.digest,
        "classes": list(record.classes),
        "class_titles": {name: name[:1].upper() + name[1:].replace("_", " ") for name in record.classes},
        "modalities": model.modalities,
        "modality_titles": {name: modality_title(name) for name in model.modalities},
        "modality_colours": {
            name: KNOWN_MODALITIES[name].colour if name in KNOWN_MODALITIES else OTHER_COLOUR
            for name in model.modalities
        },
        "clinical": model.clinical,
        "answer": record.answer,
        "licence": record.licence,
        "cohort": record.study.cohort,
        "patients": record.study.patients,
        "simulated": record.study.simulated,
        "coverage": 1 - MISS_RATE,
        "map_tests": tests.model_dump() if tests else None,
        "evaluations": [_describe_evaluation(entry) for entry in read_log(model.root)],
    }


def map_tests_of(model: FrozenModel) -> MapTests | None:
    """Take the tests of maps from a model's record; of a run, from its explanation, which may come later."""
    if model.digest:
        return model.record.map_tests
    last = RunFolder(model.root).explanation.patients  # written when the maps are there
    return _read_map_tests(model.root, last.stat().st_mtime_ns) if last.is_file() else None


@cache
def _read_map_tests(root: Path, written: int) -> MapTests | None:
    """Read them once for each time that an explanation ends: every page and every explanation asks for them."""
    try:
        return read_map_tests(RunFolder(root))
    except RunError:  # half an explanation
        return None


def _describe_evaluation(entry: LogEntry) -> dict[str, object]:
    return {"date": entry.date, "cohort": entry.cohort, "patients": entry.patients, "labels": entry.labels}


def describe_cohort(model: FrozenModel) -> dict[str, object]:
    """Describe the cohort that a model was trained on, and where its like is found; of no patient in particular."""
    study = model.record.study
    return {
        "name": study.cohort,
        "simulated": study.simulated,
        "patients": study.patients,
        "pictures": _count_pictures(model),
        "folds": study.n_folds,
        "licence": study.licence,
        "data_sets": _data_sets(model),
    }


def _count_pictures(model: FrozenModel) -> dict[str, int]:
    """Count the pictures that a model was trained on; of a run, which does not hold them, the patients with one."""
    if model.digest:
        folder = ModelFolder(model.root)
        return {m: known.n_own for m, known in read_hashes(folder, model.modalities).items()}
    presence = model.record.study.profile.presence if model.record.study.profile else {}
    return {m: sum(n for held, n in presence.items() if m in held.split("+")) for m in model.modalities if presence}


def _data_sets(model: FrozenModel) -> list[dict[str, object]]:
    """List the public data sets with a modality of the model, as the manifests describe them."""
    manifests = [load_manifest(name) for name in manifest_names()]
    return [
        {"title": each["title"], "url": each["page"], "licence": each.get("licence")}
        for each in manifests
        if "page" in each and set(each.get("modalities", ())) & set(model.modalities)
    ]
