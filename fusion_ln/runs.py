"""Run folders: the place of each file, and when a folder may be reused."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_ln.errors import RunError
from fusion_ln.files.formats import write_json
from fusion_ln.files.locks import LOCK
from fusion_ln.files.names import as_file_name
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord, PretrainingRecord, TrainedFusionRecord
from fusion_ln.records.parse import PredictionRecord, RunRecord, parse_record
from fusion_ln.records.parts import CohortSummary, tell_apart
from fusion_ln.terms import EXPLANATION_RECORD, RUN_RECORD

AUDIT_PAGE = "audit.html"
BACKBONE_FILE = "backbone.safetensors"


@dataclass(frozen=True)
class RunKey:
    """Position of a run in an experiment.

    Attributes:
        weights: Name of the starting weights.
        name: Name of the run, as in ``baseline-2d``; empty for all runs of this backbone, these weights and this seed.
    """

    backbone: str
    weights: str
    seed: int
    name: str = ""

    @classmethod
    def of_record(cls, record: PredictionRecord, name: str) -> "RunKey":
        """Build the key of a run from its record; a fusion has backbone and weights of its first baseline.

        A pre-training's weights are named after its folder.
        """
        if isinstance(record, ClinicalRecord):
            return cls("", "", record.settings.seed, name)
        if isinstance(record, BaselineRecord):
            baseline = record.settings
        else:
            baseline = next(iter(record.settings.members.values()))
        seed = record.settings.seed if isinstance(record, TrainedFusionRecord) else baseline.seed
        weights = Path(baseline.fit.weights)
        named = weights.parent if weights.name == BACKBONE_FILE else weights
        return cls(baseline.fit.backbone, named.name, seed, name)

    @property
    def seed_folder(self) -> str:
        return f"seed-{self.seed}"

    def folder(self, levels: Collection[str]) -> Path:
        """Build the path below the experiment's folder; ``levels``: the attributes that differ between its runs."""
        parts = {"backbone": self.backbone, "weights": as_file_name(self.weights), "seed": self.seed_folder}
        return Path(*(part for level, part in parts.items() if level in levels), self.name)


@dataclass(frozen=True)
class RunFolder:
    """A folder of one run, and the place of each file in it."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def record(self) -> Path:
        """Record of the run: settings, cohort, versions, hardware, time per fold."""
        return self.root / RUN_RECORD

    @property
    def predictions(self) -> Path:
        """Out-of-fold predictions, one row per patient; written last, so a run that has them is finished."""
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
    def inner_subset_predictions(self) -> Path:
        """Predictions of a fusion as in `inner_predictions`, from every subset of the modalities."""
        return self.root / "inner_subset_predictions.parquet"

    @property
    def backbone(self) -> Path:
        """Backbone of the best epoch of a pre-training; written last."""
        return self.root / BACKBONE_FILE

    @property
    def history(self) -> Path:
        """Losses and scores, one row per fold and epoch."""
        return self.root / "history.parquet"

    @property
    def lock(self) -> Path:
        """Lock file of the command that writes the run."""
        return self.root / LOCK

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def explanation(self) -> "ExplanationFolder":
        """Folder of the run's explanation, unless ``--out`` named another."""
        return ExplanationFolder(self.root / "explanation")

    @property
    def audit(self) -> Path:
        """Folder of the run's shortcut audit, unless ``--out`` named another."""
        return self.root / "audit"

    def fold(self, number: int) -> Path:
        return self.root / f"fold_{number}"

    def task(self, name: str) -> Path:
        """Return the folder of one task of a pre-training."""
        return self.root / f"task_{as_file_name(name)}"

    def checkpoint(self, fold: int) -> Path:
        """Return the file of the fold's weights of the best epoch, with the settings that rebuild the model."""
        return self.fold(fold) / "best.safetensors"

    def cross_checkpoint(self, fold: int, part: int) -> Path:
        """Return the checkpoint of the fold's network that left out one part of the training patients."""
        return self.fold(fold) / f"cross_{part}" / "best.safetensors"

    @property
    def finished(self) -> bool:
        return self.predictions.is_file()

    def read_record(self) -> RunRecord:
        """Read ``run.json``.

        Raises:
            RunError: If the folder is no run, or its ``run.json`` is damaged or of another format.
        """
        try:
            text = self.record.read_text(encoding="utf-8")
        except OSError:
            found = "holds no run.json, so it is not a run" if self.root.is_dir() else "no such folder"
            way_out = "Make one with `fusionln run baseline|fusion --out DIR`."
            if self.predictions.is_file():
                way_out += f" `fusionln compare` takes its table alone, too: {self.predictions}."
            raise RunError(f"{self.root}: {found}.", way_out) from None
        except UnicodeDecodeError as error:
            text = str(error)  # no JSON either, so it is refused as such
        return parse_record(text, self.record)

    def read_prediction_record(self) -> PredictionRecord:
        """Read ``run.json`` of a run with out-of-fold predictions.

        Raises:
            RunError: See `read_record`; or if the run is a pre-training.
        """
        record = self.read_record()
        if isinstance(record, PretrainingRecord):
            raise RunError(
                f"{self.root}: a pre-training, which predicts nothing.", "Fine-tune it: `run fusion --weights`."
            )
        return record

    def baselines(self) -> "list[RunFolder]":
        """List the baselines whose networks the run reads: those of a fusion, or the run itself.

        Raises:
            RunError: See `read_prediction_record`.
        """
        record = self.read_prediction_record()
        return [self] if isinstance(record, BaselineRecord) else [RunFolder(self.root / m) for m in record.members]

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json``, atomically."""
        write_json(self.record, record.model_dump(mode="json"))

    def check_cohort(self, expected: CohortSummary) -> None:
        """Refuse a cohort, or folds, that the run was not made on; names do not count.

        Raises:
            RunError: If it is another one, naming both.
        """
        held = self.read_prediction_record().cohort
        for part, own, other in (
            ("cohort", held.fingerprint, expected.fingerprint),
            ("folds", held.folds, expected.folds),
        ):
            if own != other:
                raise RunError(
                    f"{self.root}: made on {'another cohort' if part == 'cohort' else 'other folds'}: "
                    f"{held.name} ({part} {own[:8]}), not {expected.name} ({part} {other[:8]}).",
                    "Give the cohort that it was made on, or run again on this one in another folder (`--out DIR`).",
                )

    def claim(self, record: RunRecord) -> bool:
        """Take the folder for a run with these settings and this cohort.

        Returns:
            True if it already holds this very run, finished or not; False if it was free and now holds ``record``.

        Raises:
            RunError: If it holds a run with other settings, another cohort or other folds.
        """
        held = self.holds(record)
        if not held:
            self.write_record(record)
        return held

    def holds(self, record: RunRecord) -> bool:
        """Check that the folder is free for a run, or holds this very one; True for the latter.

        Raises:
            RunError: See `claim`.
        """
        if not self.record.is_file():
            if self.root.is_dir() and any(p for p in self.root.iterdir() if not p.name.startswith(".")):
                raise RunError(f"{self.root}: not empty and not a run.", "Choose another place with `--out DIR`.")
            return False
        if differing := differences(*_told_apart(self.read_record().identity(), record.identity())):
            listed = "\n".join(f"      {key}: {old!r} there, {new!r} asked for" for key, old, new in differing)
            raise RunError(
                f"{self.root}: holds a run with other settings:\n{listed}",
                "Choose another folder with `--out DIR`, delete this one, or give the same settings and cohort.",
            )
        return True


@dataclass(frozen=True)
class ExplanationFolder:
    """A folder of an explanation of a run, and the place of each file in it."""

    root: Path

    @property
    def lock(self) -> Path:
        """Lock file of the command that writes the explanation."""
        return self.root / LOCK

    @property
    def record(self) -> Path:
        """Record of the explanation: the run, its classes and modalities, the methods."""
        return self.root / EXPLANATION_RECORD

    @property
    def patients(self) -> Path:
        """One row per explained patient: fold, label, explained class, and the model's probabilities."""
        return self.root / "patients.parquet"

    @property
    def figures(self) -> Path:
        """One row per patient, method and picture: place of the map's weight."""
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
        """Return the file of prepared pictures by modality (V, 3, S, S).

        On a phantom it also holds ``node-`` and ``marks-`` masks (V, S, S).
        """
        return self.root / "pictures" / f"{as_file_name(patient)}.npz"

    def maps(self, method: str, patient: str) -> Path:
        """Return the file of maps by modality (V, S, S) and of their test scores."""
        return self.root / "maps" / method / f"{as_file_name(patient)}.npz"


def _told_apart(held: dict[str, Any], wanted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reduce the cohorts of two records, or of the tasks of two pre-trainings, to what tells them apart."""
    own, other = held["cohort"], wanted["cohort"]
    if own.get("tasks") and len(own["tasks"]) == len(other.get("tasks", [])):
        pairs = [tell_apart(*pair) for pair in zip(own["tasks"], other["tasks"], strict=True)]
        cohorts = [{"tasks": dict(enumerate(of_one))} for of_one in zip(*pairs, strict=True)]
    else:
        cohorts = tell_apart(own, other)
    return {**held, "cohort": cohorts[0]}, {**wanted, "cohort": cohorts[1]}


def differences(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """List the dotted keys at which two nested dictionaries differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(k for k in old if k not in new)]
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [(key, old, new)]
