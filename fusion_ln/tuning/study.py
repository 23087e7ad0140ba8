"""Study: trials of settings, each scored on inner validation, of one fold or pooled over the folds."""

from dataclasses import dataclass
from time import sleep
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from fusion_ln.errors import SettingsError, StudyError, unknown
from fusion_ln.metrics import METRICS
from fusion_ln.records.parts import tell_apart
from fusion_ln.runs import differences
from fusion_ln.settings.studies import SamplerName
from fusion_ln.training.crossval import read_cohort
from fusion_ln.training.fit import derive_seed
from fusion_ln.tuning.objective import Objective
from fusion_ln.tuning.results import IDENTITY, KNOWN, check_study
from fusion_ln.tuning.space import Space
from fusion_ln.tuning.storage import is_retry

LOOKS, LOOK_SECONDS = 30, 0.1  # for a study that another worker is making
# Search direction of every objective: three of training, then every metric.
STUDY_DIRECTIONS = {
    "auc": StudyDirection.MAXIMIZE,
    "loss": StudyDirection.MINIMIZE,
    "seconds": StudyDirection.MINIMIZE,
} | {metric.name: StudyDirection.MINIMIZE if metric.lower_is_better else StudyDirection.MAXIMIZE for metric in METRICS}


@dataclass(frozen=True)
class StudyJob:
    """One study, as a worker process needs it.

    Attributes:
        name: In the storage.
        folds: Outer folds whose inner validation scores are averaged.
        objectives: Names of `STUDY_DIRECTIONS`, ``<name>:<class>`` for a metric of a class; only one alone can prune.
        known: Settings to try before any are proposed.
    """

    name: str
    objective: Objective
    space: Space
    folds: tuple[int, ...]
    objectives: tuple[str, ...] = ("auc",)
    known: tuple[dict[str, Any], ...] = ()
    sampler: SamplerName = "tpe"
    seed: int = 0

    @property
    def directions(self) -> list[StudyDirection]:
        return [STUDY_DIRECTIONS[name.partition(":")[0]] for name in self.objectives]

    @property
    def epochs(self) -> int:
        """Largest number of epochs of a trial in one fold, and so its share of the axis of steps."""
        declared, base_settings = self.space.get("epochs"), self.objective.base_settings
        return (max(map(int, declared.samples)) if declared else base_settings.epochs) * getattr(
            base_settings, "ensemble_size", 1
        )

    def identity(self) -> dict[str, Any]:
        """Return what describes a study; to resume it all must match but for what only describes the cohort."""
        space = {name: dimension.describe() for name, dimension in self.space.items()}
        cohort = read_cohort(self.objective.cohort).describe().model_dump(mode="json")
        own = {"space": space, "objectives": list(self.objectives), "folds": list(self.folds), "seed": self.seed}
        return {**own, "sampler": self.sampler, "cohort": cohort, **self.objective.describe()}


class Sampler(BaseSampler):
    """TPE (Bergstra et al. 2011) whose draws for a trial follow from a seed and the trial's number alone.

    A trial that is tried again does not count. A resumed study therefore continues as if it had not been interrupted,
    and no two workers draw the same.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.own = self._make(0)

    def _make(self, number: int) -> BaseSampler:
        seed = derive_seed(self.seed, number)
        return TPESampler(seed=seed) if self.kind == "tpe" else RandomSampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin the draws of a trial."""
        earlier = study.get_trials(deepcopy=False)[: trial.number + 1]
        self.own = self._make(trial.number - sum(is_retry(each) for each in earlier))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Forward to the sampler of the trial."""
        return self.own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Forward to the sampler of the trial."""
        return self.own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Forward to the sampler of the trial."""
        return self.own.sample_independent(study, trial, param_name, param_distribution)


def open_study(job: StudyJob, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """Open the study of that name; create it, with the known settings queued, if there is none yet.

    Its identity is written last: a worker that was stopped before has left the rest to the next one.

    Raises:
        StudyError: If there is one that tunes something else, naming the differences.
    """
    sampler = Sampler(job.sampler, job.seed)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=job.epochs // 4)
    wanted = job.identity()
    try:
        optuna.create_study(study_name=job.name, storage=storage, directions=job.directions)
        made = True
    except optuna.exceptions.DuplicatedStudyError:
        made = False
    study = optuna.load_study(study_name=job.name, storage=storage, sampler=sampler, pruner=pruner)
    if not made:
        _wait_for_identity(study)
    if IDENTITY not in study.user_attrs:
        study.set_metric_names(list(job.objectives))
        for values in job.known:
            study.enqueue_trial(values, user_attrs={KNOWN: True}, skip_if_exists=True)
        study.set_user_attr(IDENTITY, wanted)
    else:
        check_study(study)
    held = _with_names_of_today(job, study.user_attrs.get(IDENTITY, wanted))
    cohorts = tell_apart(held["cohort"], wanted["cohort"])
    if differing := differences({**held, "cohort": cohorts[0]}, {**wanted, "cohort": cohorts[1]}):
        listed = "\n".join(f"      {key}: {old!r} there, {new!r} asked for" for key, old, new in differing)
        raise StudyError(
            f"study {job.name}: exists already and tunes something else:\n{listed}",
            "Give the experiment another name, choose another storage (`--storage`), or delete the study "
            f"(`optuna delete-study --study-name '{job.name}' --storage ...`).",
        )
    return study


def _with_names_of_today(job: StudyJob, held: dict[str, Any]) -> dict[str, Any]:
    """Rename the settings that an earlier version recorded.

    Raises:
        StudyError: If it tuned some of them, since its trials then bear the old names.
    """
    base_settings = job.objective.base_settings
    if old := [name for name in held.get("space", {}) if name in base_settings.RENAMED]:
        raise StudyError(
            f"study {job.name}: an earlier version tuned {', '.join(old)} there, now "
            f"{', '.join(base_settings.RENAMED[name] for name in old)}, so its trials cannot be continued.",
            "Begin another with `--storage`. `fusionln study apply FILE` still writes what it found (tuned.toml), "
            "and `--warm-start tuned.toml` begins with it.",
        )
    return {**held, "settings": base_settings.rename(held["settings"])} if "settings" in held else held


def _wait_for_identity(study: optuna.Study) -> None:
    """Give another worker, which may be about to make the study, the time to finish."""
    for _ in range(LOOKS):
        if IDENTITY in study.user_attrs:
            return
        sleep(LOOK_SECONDS)


def check_objectives(names: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Refuse an unknown or repeated objective.

    Raises:
        SettingsError: With the known objectives.
    """
    known = ["auc", "loss", "seconds", *(name for metric in METRICS for name in metric.titles(classes))]
    if wrong := [name for name in names if name not in known] or [n for n in names if names.count(n) > 1]:
        if wrong[0] in known:
            raise SettingsError(f"--objectives: {wrong[0]!r} is named twice.", "Name each objective once.")
        raise SettingsError(*unknown("objective", wrong[0], known, where="--objectives"))
