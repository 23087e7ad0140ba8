"""Networks of a model as folders that timm opens: `timm.create_model("local-dir:DIR/2d", pretrained=True)`."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fusion_ln.files.folders import new_folder
from fusion_ln.files.formats import write_json, write_text
from fusion_ln.files.names import as_file_name
from fusion_ln.frozen.describe import warnings_of
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.models.backbones import describe_for_timm
from fusion_ln.models.checkpoint import save_tensors
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.triplet import module_key

WEIGHTS, CONFIG = "model.safetensors", "config.json"
HEAD = "head/model.safetensors"  # timm 1.0.26 opens no folder with a second weight file


def export_timm(model: FrozenModel, out: Path) -> list[Path]:
    """Write each network of a model as a folder in timm's layout, with its normalisation.

    timm builds the backbone with its trained weights; the head, two linear layers with a ReLU between, lies in a folder
    beside them. README.md holds the lines that join them.

    Args:
        model: The model.
        out: The new folder. A refit has one network per modality, ``out/2d``; an ensemble one per fold,
            ``out/2d/fold_0``.

    Returns:
        Folders of the networks, relative to ``out``.

    Raises:
        RunError: If ``out`` holds something or cannot be written.
    """
    with new_folder(out) as made:
        places = []
        for modality in model.modalities:
            for place, number in enumerate(model.record.numbers):
                name = as_file_name(modality)
                folder = Path(name) if model.record.answer == "refit" else Path(name, f"fold_{number}")
                _write_network(made / folder, model, place, modality)
                places.append(folder)
        write_text(made / "README.md", _render_readme(model, places))
    return places


def _write_network(folder: Path, model: FrozenModel, place: int, modality: str) -> None:
    member, record = model.models[place].members[module_key(modality)], model.record
    assert isinstance(member, Classifier)
    described = {
        "modality": modality,
        "model": record.title,
        "digest": model.digest,
        "classes": record.classes,
        "licence": record.licence,
        "warnings": warnings_of(model),
    }
    config = describe_for_timm(member.backbone, record.modalities[modality])
    write_json(folder / CONFIG, {**config, "fusion_ln": described})
    save_tensors(folder / WEIGHTS, member.backbone.body.state_dict(), {"format": "pt"})
    if not record.fine_tuned:
        (folder / HEAD).parent.mkdir()
        save_tensors(folder / HEAD, member.head.state_dict(), {"format": "pt"})


def _render_readme(model: FrozenModel, places: list[Path]) -> str:
    environment = Environment(
        loader=PackageLoader("fusion_ln.export"), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    return environment.get_template("timm.md").render(
        record=model.record,
        digest=model.digest,
        warnings=warnings_of(model),
        places=[place.as_posix() for place in places],
        example=places[0].as_posix(),
        side=next(iter(model.record.modalities.values())),
        with_heads=not model.record.fine_tuned,
    )
