"""The model that is served where none is named: the newest that is at hand, or a demonstration."""

from pathlib import Path

from fusion_ln.cohort.default import open_phantom
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.files.locks import locked
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.freeze import freeze
from fusion_ln.progress import say
from fusion_ln.settings.devices import AUTO
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import MODEL_RECORD, cache_folder
from fusion_ln.training.run import run_baselines_and_fusions

DEPTH = 4  # folders below the working one that are looked into, as in runs/COHORT/backbone/fusion-late-mean
# Small enough for a minute on two cores; it shows what an answer looks like, and answers poorly.
PATIENTS, FIT = 60, FitSettings(backbone="resnet10t", image_size=64, epochs=4, batch_size=16)
HEAD = "late-mean"


def choose_model(folder: Path) -> Path:
    """Find the newest model or finished fusion below a folder, else make the demonstration; says which."""
    if found := _newest(folder):
        say(f"No model named: serving {found}, the newest here.")
        return found
    return open_demonstration()


def _newest(folder: Path) -> Path | None:
    """Find what was written last: a model, or a run of several modalities."""
    found: list[tuple[float, Path]] = []
    for depth in range(DEPTH + 1):
        pattern = "*/" * depth
        models = folder.glob(pattern + MODEL_RECORD)
        runs = [path for path in folder.glob(f"{pattern}fusion-*/predictions.parquet") if path.is_file()]
        found += [(path.stat().st_mtime, path.parent) for path in (*models, *runs)]
    return max(found)[1] if found else None


def open_demonstration() -> Path:
    """Open the demonstration in the cache folder; train it on simulated patients first if it is missing."""
    root = cache_folder() / "demonstration"
    model = ModelFolder(root / "model")
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / "lock"):
        if model.digest_file.is_file():
            say(f"No model here: serving the demonstration {model.root}")
            return model.root
        say(f"No model here: training a demonstration on {PATIENTS} simulated patients, once (about a minute).")
        cohort = open_phantom(PhantomSettings(patients=PATIENTS))
        modalities = list(cohort.modalities)
        runs = run_baselines_and_fusions(
            cohort, modalities, {HEAD: None}, FIT, root / "runs", protocol="nested", seed=0, device=AUTO
        )
        freeze(runs[-1], model.root, licence="CC0-1.0")
    return model.root
