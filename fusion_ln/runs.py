"""A run: one folder of results. Where each file of it lies, what it records of itself, and when it may be reused."""

import json
import os
import platform
import re
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fusion_ln.errors import RunError
from fusion_ln.files import as_file_name, write_json

FORMAT_VERSION = 1
AUDIT_PAGE = "audit.html"
RECORDED_PACKAGES = ("fusion_ln", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "pandas", "scikit-learn")
PASSWORD = re.compile(r"(://[^/@:\s]*):[^@\s]*@")  # in the URL of a database


@dataclass(frozen=True)
class RunFolder:
    """The places inside a run folder."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def record(self) -> Path:
        """What the run is: settings, cohort, versions, hardware, time per fold."""
        return self.root / "run.json"

    @property
    def predictions(self) -> Path:
        """Out-of-fold predictions, one row per patient: the run is finished when it is there."""
        return self.root / "predictions.parquet"

    @property
    def inner_predictions(self) -> Path:
        """Predictions of each fold's inner validation patients by that fold's model; ``fold`` is the model's."""
        return self.root / "inner_predictions.parquet"

    @property
    def subset_predictions(self) -> Path:
        """Out-of-fold predictions of a fusion from every subset of the modalities, named in a further column."""
        return self.root / "subset_predictions.parquet"

    @property
    def backbone(self) -> Path:
        """Backbone of the best epoch of a pre-training: it is finished when this is there."""
        return self.root / "backbone.safetensors"

    @property
    def history(self) -> Path:
        """Losses and scores, one row per fold and epoch."""
        return self.root / "history.parquet"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def explanation(self) -> "ExplanationFolder":
        """Where an explanation of the run lies, unless it was put elsewhere."""
        return ExplanationFolder(self.root / "explanation")

    @property
    def audit(self) -> Path:
        """Folder of the run's shortcut audit, unless it was put elsewhere."""
        return self.root / "audit"

    def fold(self, number: int) -> Path:
        return self.root / f"fold_{number}"

    def task(self, name: str) -> Path:
        """What a pre-training keeps of one of its tasks."""
        return self.root / f"task_{as_file_name(name)}"

    def checkpoint(self, fold: int) -> Path:
        """Weights of the fold's best epoch, with the settings that rebuild the model."""
        return self.fold(fold) / "best.safetensors"

    def cross_checkpoint(self, fold: int, part: int) -> Path:
        """As `checkpoint`, of the fold's network that did not see one part of the training patients."""
        return self.fold(fold) / f"cross_{part}" / "best.safetensors"

    @property
    def finished(self) -> bool:
        return self.predictions.is_file()

    def read_record(self) -> dict[str, Any]:
        """What `write_record` wrote.

        Raises:
            RunError: If the folder is no run.
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found = "holds no run.json" if isinstance(error, OSError) else "its run.json cannot be read"
            raise RunError(
                f"{self.root}: {found}, so it is not a run.", "Make one with `fusionln run baseline|fusion --out DIR`."
            ) from None
        return record

    def claim(self, record: dict[str, Any]) -> bool:
        """Take the folder for a run with these settings and this cohort.

        Returns:
            True if it already holds this very run, finished or not; False if it was free and now holds ``record``.

        Raises:
            RunError: If it holds a run with other settings, another cohort or other folds.
        """
        if not self.record.is_file():
            if self.root.is_dir() and any(p for p in self.root.iterdir() if not p.name.startswith(".")):
                raise RunError(f"{self.root}: not empty and not a run.", "Choose another place with `--out DIR`.")
            write_json(self.record, record)
            return False
        held = self.read_record()
        if differing := differences({k: held.get(k) for k in IDENTITY}, {k: record.get(k) for k in IDENTITY}):
            listed = "\n".join(f"      {key}: {old!r} there, {new!r} asked for" for key, old, new in differing)
            raise RunError(
                f"{self.root}: holds a run with other settings:\n{listed}",
                "Choose another folder with `--out DIR`, delete this one, or give the same settings.",
            )
        return True


@dataclass(frozen=True)
class ExplanationFolder:
    """The places inside the folder of an explanation of a run."""

    root: Path

    @property
    def record(self) -> Path:
        """What was explained: the run, its classes and modalities, the methods."""
        return self.root / "explanation.json"

    @property
    def patients(self) -> Path:
        """One row per explained patient: fold, label, the class that was explained, and what its model says."""
        return self.root / "patients.parquet"

    @property
    def figures(self) -> Path:
        """One row per patient, method and picture: where the weight of its map lies."""
        return self.root / "figures.parquet"

    @property
    def contributions(self) -> Path:
        """One row per patient, class and modality: its Shapley value, and the exact one on a phantom."""
        return self.root / "contributions.parquet"

    @property
    def interactions(self) -> Path:
        """One row per patient, class and pair of modalities: its Shapley interaction index."""
        return self.root / "interactions.parquet"

    @property
    def page(self) -> Path:
        return self.root / "explanation.html"

    def pictures(self, patient: str) -> Path:
        """Prepared pictures by modality (V, 3, S, S); on a phantom also ``node-`` and ``marks-`` masks (V, S, S)."""
        return self.root / "pictures" / f"{as_file_name(patient)}.npz"

    def maps(self, method: str, patient: str) -> Path:
        """Maps by modality (V, S, S), and what the tests said of them."""
        return self.root / "maps" / method / f"{as_file_name(patient)}.npz"


def weight_file(weights: Path) -> Path:
    """The file of the weights: ``weights`` itself or, of the folder of a pre-training, its backbone.

    Raises:
        RunError: If it is a folder, but not of a finished pre-training.
    """
    if not weights.is_dir():
        return weights
    run = RunFolder(weights)
    if run.read_record()["kind"] != "pretraining":
        raise RunError(
            f"{weights}: not a pre-training.", "Make one with `fusionln pretrain --out DIR`, or give a file."
        )
    if not run.backbone.is_file():
        raise RunError(f"{weights}: an unfinished pre-training.", "The command that began it goes on from there.")
    return run.backbone


# The parts of a record that make it the same run: the rest says how, when and where it was computed.
IDENTITY = ("format", "kind", "settings", "cohort")


def new_record(kind: str, settings: dict[str, Any], cohort: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What run.json holds at the start of a run.

    Args:
        kind: ``baseline``, ``fusion`` or ``pretraining``.
        settings: Resolved settings; part of the run's identity.
        cohort: See `fusion_ln.training.crossval.describe_cohort`; part of the run's identity.
        more: Further entries.
    """
    return {
        "format": FORMAT_VERSION,
        "kind": kind,
        "settings": settings,
        "cohort": cohort,
        "command": PASSWORD.sub(r"\1:***@", shlex.join(["fusionln", *sys.argv[1:]])),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": installed_versions(),
        "hardware": hardware(),
        "folds": [],
        **more,
    }


def installed_versions() -> dict[str, str]:
    """Python's version and those of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """The machine that this process runs on."""
    return {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def differences(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted keys at which two nested dictionaries differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(k for k in old if k not in new)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [(key, old, new)]
