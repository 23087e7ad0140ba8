"""The file of weights that a path means: itself, the backbone of a pre-training, or that of a folder of timm's."""

from pathlib import Path

from fusion_ln.errors import RunError
from fusion_ln.records.kinds import PretrainingRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings

NAMES = ("scratch", "imagenet")  # weights that are no file
# Folder that timm opens as `local-dir:`: its description, and the names that its weights may have.
TIMM_CONFIG, TIMM_WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth")


def find_weights(weights: str, runs: Path) -> str:
    """Find what a run began from: at the path that its record tells, else by the same name among ``runs``.

    The path is as it was given, often seen from another folder than today's, and a folder of runs may have moved.
    """
    beside = runs / Path(weights).name
    return str(beside) if weights not in NAMES and not Path(weights).exists() and beside.exists() else weights


def begin_again(settings: BaselineSettings, run: RunFolder) -> BaselineSettings:
    """Set the weights of a finished baseline to where they lie today, see `find_weights`."""
    weights = find_weights(settings.fit.weights, run.root.parent)
    return settings.model_copy(update={"fit": settings.fit.model_copy(update={"weights": weights})})


def weight_file(weights: Path) -> Path:
    """Find the file of weights: ``weights`` itself, the backbone of a pre-training's folder, or that of timm's.

    Raises:
        RunError: If it is a folder, but neither of a finished pre-training nor one that timm opens.
    """
    if not weights.is_dir():
        return weights
    for name in TIMM_WEIGHTS:
        if (weights / TIMM_CONFIG).is_file() and (weights / name).is_file():
            return weights / name
    run = RunFolder(weights)
    if not run.record.is_file() or not isinstance(run.read_record(), PretrainingRecord):
        found = "a run, but not a pre-training" if run.record.is_file() else "a folder without run.json"
        if (weights / TIMM_CONFIG).is_file():
            found = f"holds {TIMM_CONFIG}, but none of {', '.join(TIMM_WEIGHTS)}"
        raise RunError(
            f"{weights}: {found}; `--weights` takes `scratch`, `imagenet`, a file, or the folder of a pre-training or "
            "of a network that timm opens.",
            "Make a pre-training with `fusionln pretrain --out DIR`, or give a file.",
        )
    if not run.backbone.is_file():
        raise RunError(f"{weights}: an unfinished pre-training.", "Run the same command again: it resumes.")
    return run.backbone
