"""`GET /cohort`: the cohort that the model was trained on, and where its like and the code are found."""

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.export.source import source_link, source_links
from fusion_ln.frozen.describe import describe_cohort
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api.schemas import CohortSummary


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""
    described = {**describe_cohort(model), "code": [*source_links(), source_link("/api/v1/source")]}

    @api.get("/cohort", response=CohortSummary)
    async def cohort(request: HttpRequest) -> dict[str, object]:
        """Describe the cohort that the model was trained on; of no patient in particular."""
        return described
