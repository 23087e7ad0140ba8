"""`GET /cohort`: the cohort that the model was trained on, and where its like is found."""

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.frozen.describe import describe_cohort
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.serve.api.schemas import CohortSummary


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""
    described = describe_cohort(model)

    @api.get("/cohort", response=CohortSummary)
    async def cohort(request: HttpRequest) -> dict[str, object]:
        """Describe the cohort that the model was trained on; of no patient in particular."""
        return described
