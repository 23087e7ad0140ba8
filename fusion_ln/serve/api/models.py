"""`GET /models`: the model that this server asks."""

from functools import cache
from pathlib import Path

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.errors import FusionLNError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.explain.frozen import DEFAULT_METHODS
from fusion_ln.explain.methods import METHODS
from fusion_ln.frozen import card
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.report.explanation.reading import read_explanation
from fusion_ln.runs import ExplanationFolder, RunFolder
from fusion_ln.serve.api.schemas import ServedModel
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.page import report_of
from fusion_ln.terms import KNOWN_MODALITIES, modality_title

OTHER_COLOUR = ("#5b5bd6", "#9a9af0")  # of a modality that only the cohort knows


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""

    @api.get("/models", response=list[ServedModel])
    async def models(request: HttpRequest) -> list[dict[str, object]]:
        """List the models that this server asks."""
        return [_describe(model)]


def warnings_of(model: FrozenModel) -> list[str]:
    """List what whoever reads an answer of the model must know."""
    warnings = [card.NOT_A_DEVICE, *card.warnings_of(model.record)]
    if serve_config().options.keep:
        warnings.append("This server keeps what is sent to it, with its answers.")
    return warnings


def methods_of(model: FrozenModel) -> list[dict[str, object]]:
    """List the attribution methods that are offered: Grad-CAM, and the one that the run's tests trust most."""
    fitting = serve_config().room.explainer.fitting
    trusted = _most_trusted(model)
    names = ["gradcam", trusted] if trusted else DEFAULT_METHODS
    return [
        {"name": name, "title": METHODS[name].title, "trusted": name == trusted}
        for name in dict.fromkeys(names)
        if name in fitting
    ]


def _most_trusted(model: FrozenModel) -> str | None:
    """Read the method that did best in the explanation of a run; None of a frozen model, or without one."""
    folder = RunFolder(model.root).explanation
    if model.digest or not folder.record.is_file():
        return None
    return _read_most_trusted(folder.root, folder.record.stat().st_mtime_ns)


@cache
def _read_most_trusted(root: Path, written: int) -> str | None:
    """Read it once for each time that the explanation is written: every page and every explanation asks for it."""
    try:
        return read_explanation(ExplanationFolder(root)).most_trusted
    except FusionLNError:  # half an explanation
        return None


def _describe(model: FrozenModel) -> dict[str, object]:
    record = model.record
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
        "methods": methods_of(model),
        "keeps_uploads": bool(serve_config().options.keep),
        "has_report": report_of(model).is_file(),
        "has_facts": ModelFolder(model.root).facts.is_file(),
        "warnings": warnings_of(model),
    }
