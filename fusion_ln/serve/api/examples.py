"""`GET /examples`: simulated patients of each class, to try a model with."""

from functools import cache
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI

from fusion_ln.cohort.phantom.examples import draw_examples
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api.schemas import Example, Failure
from fusion_ln.serve.decoding import encode_png
from fusion_ln.serve.gate.problems import ProblemError

PNG = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}, "description": "The picture."}


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource; a model without a modality of the simulated patients has no example."""

    @api.get("/examples", response=list[Example], by_alias=True)
    def examples(request: HttpRequest) -> list[dict[str, object]]:
        """List simulated patients, drawn for the purpose: nobody's pictures, and none that a model learnt from."""
        listed: list[dict[str, object]] = []
        for name, (label, pictures) in _drawn().items():
            held = {m: f"/api/v1/examples/{name}/{m}.png" for m in pictures if m in model.modalities}
            if held:
                listed.append({"name": name, "class": label, "pictures": held})
        return listed

    @api.get(
        "/examples/{name}/{modality}.png",
        response={404: Failure},
        openapi_extra={"responses": {200: PNG}},
    )
    def picture(request: HttpRequest, name: str, modality: str) -> HttpResponse:
        """Return the picture of a simulated patient."""
        _, pictures = _drawn().get(name, ("", {}))
        if modality not in pictures:
            raise ProblemError(HTTPStatus.NOT_FOUND, "No such example.", "Examples are listed in /api/v1/examples.")
        return HttpResponse(pictures[modality], content_type="image/png")


@cache
def _drawn() -> dict[str, tuple[str, dict[str, bytes]]]:
    """Draw the examples once: class and PNG by modality, by name."""
    numbers: dict[str, int] = {}
    drawn = {}
    for example in draw_examples():
        numbers[example.label] = numbers.get(example.label, 0) + 1
        encoded = {modality: encode_png(image) for modality, image in example.pictures.items()}
        drawn[f"{example.label}-{numbers[example.label]}"] = (example.label, encoded)
    return drawn
