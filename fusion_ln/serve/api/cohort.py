"""`GET /cohort`: the cohort that the model was trained on, and where its like is found."""

from importlib.metadata import metadata

from django.http import HttpRequest
from ninja import NinjaAPI

from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.pictures import read_hashes
from fusion_ln.manifests import load_manifest, manifest_names
from fusion_ln.serve.api.schemas import CohortSummary


def add_to(api: NinjaAPI, model: FrozenModel) -> None:
    """Add the resource."""
    described = _describe(model)

    @api.get("/cohort", response=CohortSummary)
    async def cohort(request: HttpRequest) -> dict[str, object]:
        """Describe the cohort that the model was trained on; of no patient in particular."""
        return described


def _describe(model: FrozenModel) -> dict[str, object]:
    study = model.record.study
    return {
        "name": study.cohort,
        "simulated": study.simulated,
        "patients": study.patients,
        "pictures": _count_pictures(model),
        "folds": study.n_folds,
        "licence": model.record.licence,
        "data_sets": _data_sets(model),
        "code": _code(),
    }


def _count_pictures(model: FrozenModel) -> dict[str, int]:
    """Count the pictures that a model was trained on; of a run, which does not hold them, the patients with one."""
    if model.digest:
        folder = ModelFolder(model.root)
        return {m: read_hashes(folder, m).n_own for m in model.modalities}
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


def _code() -> dict[str, object] | None:
    """Find where the package's metadata say that its code is."""
    for entry in metadata("fusion_ln").get_all("Project-URL") or []:
        title, _, url = entry.partition(", ")
        return {"title": title, "url": url}
    return None
