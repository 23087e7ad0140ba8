"""Start of baselines from a pre-training of ours on the simulated organ tasks, made for them first."""

from pathlib import Path

from fusion_ln.cohort.default import open_organs
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.pretraining import PRETRAINING, pretraining_of_runs
from fusion_ln.settings.training import PRETRAINED, FitSettings
from fusion_ln.training.pretraining.pretrain import pretrain


def start_folder(out: Path) -> RunFolder:
    """Locate the pre-training that serves the runs in ``out``."""
    return RunFolder(out / PRETRAINING)


def start_from(weights: str, fit: FitSettings, out: Path) -> FitSettings:
    """Set the weights of a fit; ``pretrained`` becomes the folder of a pre-training that need not be there yet."""
    start = str(start_folder(out).root) if weights == PRETRAINED else weights
    return fit.model_copy(update={"weights": start})


def resolve_weights(weights: str, fit: FitSettings, out: Path, device: DeviceSettings) -> FitSettings:
    """Set the weights of a fit; for ``pretrained``, run the pre-training in ``out/pretraining`` first.

    A finished pre-training with the same settings is kept.

    Raises:
        RunError, SettingsError, WeightsError, DivergedError: See `pretrain`.
    """
    if weights == PRETRAINED:
        where = device if device.engine == "local" else device.one_device
        pretrain(open_organs(fit.image_size), pretraining_of_runs(fit), start_folder(out), where)
    return start_from(weights, fit, out)
