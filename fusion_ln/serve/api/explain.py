"""`POST /explain`: maps of the pictures of a patient."""

from http import HTTPStatus
from typing import Annotated

import numpy as np
from django.http import HttpRequest
from ninja import NinjaAPI, Query
from PIL import Image

from fusion_ln.frozen.load import FrozenModel
from fusion_ln.report.explanation.overlays import on_one_scale, overlay_layer
from fusion_ln.serve.api.models import methods_of
from fusion_ln.serve.api.predict import FAILURES, queued
from fusion_ln.serve.api.schemas import Explanation
from fusion_ln.serve.api.uploads import data_url, describe_request, read_question
from fusion_ln.serve.apps import serve_config
from fusion_ln.serve.gate.problems import ProblemError


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""

    @api.post("/explain", response={200: Explanation, **FAILURES}, openapi_extra=describe_request(model))
    async def explain(request: HttpRequest, method: Annotated[str, Query()] = "") -> dict[str, object]:
        """Show where a patient's pictures speak for the likeliest class; by one method, or by all of the model's."""
        offered = methods_of(model)
        methods = [each for each in offered if method in {"", each["name"]}]
        if not methods:
            known = f"It has {', '.join(str(each['name']) for each in offered)}."
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "method: not one of this model.", known)
        _, _, question = await read_question(request, model)
        names = [str(each["name"]) for each in methods]
        found = await queued(lambda: serve_config().room.explain(question, names))
        return {
            "target": found.target,
            "pictures": {
                m: data_url(Image.fromarray(pixels.transpose(1, 2, 0))) for m, pixels in question.pictures.items()
            },
            "maps": _draw(found.maps),
            "methods": methods,
        }


def _draw(maps: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, str]]:
    """Draw maps as layers, those of a method on one scale, so that a patient's pictures can be compared."""
    heat, scales = on_one_scale(maps)
    return {
        m: {name: data_url(Image.fromarray(overlay_layer(values, scales[name]))) for name, values in held.items()}
        for m, held in heat.items()
    }
