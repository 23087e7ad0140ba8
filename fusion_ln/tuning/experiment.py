"""Experiments with a search space: their studies, and the order in which these run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import SettingsError
from fusion_ln.files.locks import locked
from fusion_ln.files.names import as_file_name
from fusion_ln.runs import RunKey
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.studies import TRIALS, Scheme
from fusion_ln.settings.training import BaselineSettings, FitSettings, LoopSettings
from fusion_ln.training.experiment import (
    TUNED,
    check_experiment,
    folder_levels,
    plan_members,
    run_members,
    tunes_baselines,
)
from fusion_ln.training.experiment_file import ExperimentSettings, changes_of, experiment_heads, fusion_name
from fusion_ln.training.parts import check_patients
from fusion_ln.training.room import RoomNeeded, baseline_needs, check_room, fusion_needs, trial_needs
from fusion_ln.training.run import cross_fit, plan_baselines
from fusion_ln.tuning.found import found_settings
from fusion_ln.tuning.objective import BaselineObjective, HeadObjective, Objective
from fusion_ln.tuning.pool import run_studies
from fusion_ln.tuning.space import Space, read_space
from fusion_ln.tuning.storage import Budget
from fusion_ln.tuning.study import StudyJob, check_objectives
from fusion_ln.tuning.worker import Conditions

TUNABLE: dict[str, Scheme] = {"baseline": "pooled", "head": "per-fold"}  # tunable parts and their default schemes
SIZE_SETTINGS = frozenset({"backbone", "image_size"})  # settings on which the sizes of files depend
POOLED_ONLY = "image_size"  # all folds of a run show the same pictures
JOURNAL = "study.journal"


def budget_of(experiment: ExperimentSettings) -> Budget:
    """Return the budget of each study."""
    study = experiment.study
    trials = TRIALS if study.trials is None and study.seconds is None else study.trials
    return Budget(trials, study.seconds)


@dataclass(frozen=True)
class Tuning:
    """An experiment to tune, on its cohort, with one backbone and one start.

    Attributes:
        fit: The untuned settings of the baselines.
        out: Where its runs lie.
        known: Settings to try first besides the untuned ones, by the name of a run.
    """

    experiment: ExperimentSettings
    cohort: Cohort
    fit: FitSettings
    out: Path
    known: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Folder of the runs that the heads are tuned on: those of the first seed."""
        levels = folder_levels(self.experiment) & {"seed"}
        return self.out / RunKey(self.fit.backbone, self.fit.weights, self.experiment.seeds[0]).folder(levels)

    @property
    def modalities(self) -> list[str]:
        return self.experiment.modalities or list(self.cohort.modalities)

    @property
    def members(self) -> Path:
        """Folder of the baselines that the heads are tuned on."""
        are_tuned = tunes_baselines(self.experiment) or "baseline" in self.experiment.space
        return self.place / TUNED if are_tuned else self.place

    def scheme(self, kind: str) -> Scheme:
        """Return the scheme of a kind: one study for all outer folds, or one for each."""
        return self.experiment.study.scheme or TUNABLE[kind]

    def check_spaces(self) -> None:
        """Raise SettingsError if there is no search space, or one does not fit."""
        name, declared = self.experiment.name, self.experiment.space
        if not declared:
            raise SettingsError(f"{name}: no search space.", "Add a table [space.baseline] or [space.head].")
        if unknown := [kind for kind in declared if kind not in TUNABLE]:
            raise SettingsError(f"{name}: space.{unknown[0]} is unknown.", "Write [space.baseline] or [space.head].")
        heads = list(self.trained_heads().values())
        if "head" in declared and not heads:
            raise SettingsError(f"{name}: space.head, but no trained head.", "Name some in `heads`.")
        for kind, table in declared.items():
            for base_settings in [self.fit] if kind == "baseline" else heads:
                self.space(kind, base_settings)
            if POOLED_ONLY in table and self.scheme(kind) == "per-fold":
                raise SettingsError(f"{name}: space.{kind}: {POOLED_ONLY} cannot differ between folds.", "Pool them.")

    def space(self, kind: str, base_settings: LoopSettings) -> Space:
        """Read the space of a study; dimensions of layers that only some of the heads have are those heads' alone.

        Raises:
            SettingsError: If it does not fit the settings.
        """
        table = base_settings.rename(self.experiment.space[kind])
        if isinstance(base_settings, HeadSettings):
            heads = {settings.head for settings in self.trained_heads().values()}
            table = changes_of(base_settings.head, table, heads)
        return read_space(table, base_settings, f"{self.experiment.name}: space.{kind}")

    def check(self) -> None:
        """Refuse what cannot be tuned, before anything is trained.

        Raises:
            SettingsError: If the experiment cannot be tuned as it stands.
            CohortError: If a clinical column of a head cannot be used, or see `check_patients`.
        """
        experiment = self.experiment
        if len(experiment.backbones) > 1 or len(experiment.weights) > 1:
            raise SettingsError(
                f"{experiment.name}: tuned with several backbones or weights.",
                "Put backbones into the space (`backbone = [...]`), and tune each start in an experiment of its own.",
            )
        if experiment.protocol == "paper":
            raise SettingsError(
                f"{experiment.name}: tuned under the paper's protocol, whose early stopping reads the held-out fold.",
                'Take `protocol = "nested"`.',
            )
        if finetuned := [name for name, settings in self.trained_heads().items() if settings.finetune]:
            raise SettingsError(
                f"{experiment.name}: head {finetuned[0]} is fine-tuned, but trials end before the fine-tuning.",
                "Tune the head without `finetune`; fine-tune it with the settings that are found.",
            )
        check_experiment(experiment, self.cohort, {self.fit.backbone: self.fit})
        check_objectives(experiment.study.objectives, self.cohort.classes)
        self.check_spaces()
        for modality in self.modalities:
            check_patients(self.cohort, modality)

    def needs(self) -> Iterator[RoomNeeded]:
        """List what the studies write at least; the sizes of networks that the trials choose are not known yet."""
        of_baselines = self.experiment.space.get("baseline", {})
        if of_baselines:
            yield from trial_needs(self.cohort, self.modalities, self.fit)
        if "head" in self.experiment.space and not of_baselines.keys() & SIZE_SETTINGS:
            protocol, seed = self.experiment.protocol, self.experiment.seeds[0]
            planned = plan_baselines(self.members, self.modalities, self.fit, protocol=protocol, seed=seed)
            yield from baseline_needs(self.cohort, planned)
            yield from fusion_needs(self.cohort, planned, self.trained_heads(), self.place)

    def baselines(self) -> list[StudyJob]:
        """List the studies of the single modalities."""
        jobs: list[StudyJob] = []
        if "baseline" not in self.experiment.space:
            return jobs
        for modality in self.modalities:
            settings = BaselineSettings(modality=modality, fit=self.fit, seed=self.experiment.seeds[0])
            jobs += self._jobs(
                "baseline", as_file_name(f"baseline-{modality}"), BaselineObjective(self.cohort.root, settings)
            )
        return jobs

    def heads(self) -> list[StudyJob]:
        """List the studies of the trained heads, on the baselines in `place`."""
        jobs: list[StudyJob] = []
        if "head" not in self.experiment.space:
            return jobs
        members = tuple(self.members / as_file_name(f"baseline-{modality}") for modality in self.modalities)
        for name, settings in self.trained_heads().items():
            objective = HeadObjective(self.cohort.root, members, settings, self.experiment.seeds[0])
            jobs += self._jobs("head", fusion_name(name), objective)
        return jobs

    def trained_heads(self) -> dict[str, HeadSettings]:
        """Return the untuned settings of the trained heads, by name."""
        heads = experiment_heads(self.experiment, self.experiment.name)
        return {name: settings for name, settings in heads.items() if settings is not None}

    def _jobs(self, kind: str, run: str, objective: Objective) -> list[StudyJob]:
        space, study = self.space(kind, objective.base_settings), self.experiment.study
        all_folds = tuple(range(self.cohort.n_folds))
        parts = {"": all_folds} if self.scheme(kind) == "pooled" else {f"/fold-{k}": (k,) for k in all_folds}
        return [
            StudyJob(
                name=f"{self.experiment.name}/{run}{suffix}",
                objective=objective,
                space=space,
                folds=folds,
                objectives=study.objectives,
                known=tuple(self._known(run, objective.base_settings, space, folds)),
                sampler=study.sampler,
                seed=study.seed,
            )
            for suffix, folds in parts.items()
        ]

    def _known(
        self, run: str, base_settings: LoopSettings, space: Space, folds: tuple[int, ...]
    ) -> Iterator[dict[str, Any]]:
        """Yield the untuned settings, then the known ones: those of the fold where there are some for each."""
        yield {name: getattr(base_settings, name) for name in space}
        common = dict(self.known.get(run, {}))
        of_folds = common.pop("folds", None)
        if not common and not of_folds:
            return
        for own in [of_folds[fold] for fold in folds if fold < len(of_folds)] if of_folds else [{}]:
            changes = base_settings.rename({**common, **own})  # an earlier version may have found them
            settings = base_settings.with_changes({k: v for k, v in changes.items() if k in space})
            values = {name: getattr(settings, name) for name in space}
            if outside := [name for name, value in values.items() if value not in space[name]]:
                raise SettingsError(
                    f"warm start: {run}: {outside[0]} = {values[outside[0]]} lies outside ({space[outside[0]]}).",
                    "Widen the search space, or start without `--warm-start`.",
                )
            yield values


def tune(tuning: Tuning, conditions: Conditions, further: Iterable[RoomNeeded] = ()) -> None:
    """Run all studies of an experiment, with other machines: of the baselines, then of the heads on the tuned ones.

    Args:
        tuning: The experiment.
        conditions: Of its trials.
        further: Files that will be written afterwards, for which there must be room as well.

    Raises:
        RunError: If a disk has too little room; before the first trial.
        StudyError: See `run_worker`.
    """
    tuning.check()
    check_room([*tuning.needs(), *further])
    n_folds = tuning.cohort.n_folds
    if jobs := tuning.baselines():
        run_studies(jobs, conditions, n_folds=n_folds)
    if "head" in tuning.experiment.space:
        experiment = tuning.experiment
        if jobs:
            experiment = experiment.model_copy(update={"tuned": found_settings(experiment, conditions.storage)})
        seed, heads = experiment.seeds[0], tuning.trained_heads()
        planned = plan_members(experiment, tuning.cohort, tuning.fit, tuning.place, seed=seed)
        tokens = fusion_needs(tuning.cohort, planned, heads, tuning.place)
        check_room([*baseline_needs(tuning.cohort, planned), *tokens])
        with locked(tuning.place / ".baselines.lock"):  # on a shared drive one machine trains them, the others wait
            members = run_members(
                experiment, tuning.cohort, tuning.fit, tuning.place, seed=seed, device=conditions.device
            )
            cross_fit(tuning.cohort, members, heads.values(), conditions.device)
            jobs = tuning.heads()
            for job in jobs:
                assert isinstance(job.objective, HeadObjective)
                job.objective.prepare(job.folds, conditions.device)
        run_studies(jobs, conditions, n_folds=n_folds)
