"""`GET /models`: the model that this server asks."""

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.explain.frozen import DEFAULT_METHODS
from fusion_ln.explain.methods import METHODS
from fusion_ln.frozen import describe
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api.schemas import ServedModel
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.cautions import Caution, as_fields
from fusion_ln.serve.page import report_of

NOT_CHECKED = "This server does not check whether a picture is one that the run was trained on; a frozen model does."


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""

    @api.get("/models", response=list[ServedModel])
    async def models(request: HttpRequest) -> list[dict[str, object]]:
        """List the models that this server asks."""
        return [_describe(model)]


def warnings_of(model: FrozenModel) -> list[Caution]:
    """List what whoever reads an answer of the model must know."""
    warnings = [Caution(text, describe.WARNING_CODES.get(text)) for text in describe.warnings_of(model)]
    if not model.digest:  # a run holds no hashes of its pictures
        warnings.append(Caution(NOT_CHECKED, "not-checked"))
    if serve_config().options.keep:
        warnings.append(Caution("This server keeps what is sent to it, with its answers.", "keeps-uploads"))
    return warnings


def methods_of(model: FrozenModel) -> list[dict[str, object]]:
    """List the attribution methods that are offered: Grad-CAM, and the one that the study's tests trust most."""
    fitting, tests = serve_config().room.explainer.fitting, describe.map_tests_of(model)
    trusted = tests.trusted if tests else None
    names = ["gradcam", trusted] if trusted else DEFAULT_METHODS
    return [
        {"name": name, "title": METHODS[name].title, "trusted": name == trusted}
        for name in dict.fromkeys(names)
        if name in fitting
    ]


def _describe(model: FrozenModel) -> dict[str, object]:
    return {
        **describe.describe_model(model),
        "methods": methods_of(model),
        "keeps_uploads": bool(serve_config().options.keep),
        "has_report": report_of(model).is_file(),
        "has_facts": ModelFolder(model.root).facts.is_file(),
        **as_fields(warnings_of(model)),
    }
