"""Search space of a study: ranges and choices of settings, checked before anything is trained."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.models.rehearsal import check_network
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings, LoopSettings

if TYPE_CHECKING:
    from optuna import Trial

S = TypeVar("S", bound=LoopSettings)

# Not for tuning: they define which model is tuned, or do not change its weights.
FIXED = {"head", "tokens", "ensemble_size", "clinical", "finetune", "folds", "weights", "precision"}
LARGEST_BOUND = 1e12  # end of a range
MOST_COMBINATIONS = 4096  # of ends and choices that are tried against the settings


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole ones where both ends are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def samples(self) -> list[Any]:
        """Both ends."""
        return [self.low, self.high]

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def suggest(self, trial: "Trial", name: str) -> Any:
        """Suggest a value for a trial."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    def describe(self) -> dict[str, Any]:
        """Return the dimension as it was declared."""
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (", log" if self.log else "")


@dataclass(frozen=True)
class Choices:
    """Values to choose from."""

    values: tuple[Any, ...]

    @property
    def samples(self) -> list[Any]:
        return list(self.values)

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def suggest(self, trial: "Trial", name: str) -> Any:
        """Suggest a value for a trial."""
        return trial.suggest_categorical(name, self.values)

    def describe(self) -> list[Any]:
        """Return the dimension as it was declared."""
        return list(self.values)

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Dimension = Range | Choices
Space = dict[str, Dimension]


def read_space(table: dict[str, Any], base_settings: LoopSettings, where: str) -> Space:
    """Read the dimensions that a ``[space]`` table declares.

    Args:
        table: Setting to ``{low, high}``, with ``log`` and ``step`` if wanted, or to a list of choices.
        base_settings: The settings to tune: every value of the space must fit them, and theirs must lie in it.
        where: What messages begin with.

    Raises:
        SettingsError: If a setting does not exist (naming the nearest) or is not for tuning, a range is empty, a value
            does not fit, or the untuned settings lie outside.
    """
    tunable = [name for name in type(base_settings).model_fields if name not in FIXED]
    space: Space = {}
    for name, declared in base_settings.rename(table).items():
        if name not in tunable:
            if name in FIXED and name in type(base_settings).model_fields:
                raise SettingsError(f"{where}: {name} is not for tuning.", f"Tunable: {', '.join(tunable)}.")
            of = {FitSettings: "of a baseline", HeadSettings: "of a fusion head"}[type(base_settings)]
            raise SettingsError(*unknown(f"setting {of}", name, tunable, where=where))
        space[name] = found = _dimension(declared, f"{where}.{name}")
        if isinstance(getattr(base_settings, name), int) and isinstance(found, Range) and not found.whole:
            raise SettingsError(f"{where}.{name}: {declared} is not whole.", f"{name} takes whole numbers.")
    if not space:
        raise SettingsError(f"{where}: empty, so there is nothing to tune.", f"It takes {', '.join(tunable)}.")
    for values in _combinations(space):
        changed = base_settings.with_changes(values, where)
        if isinstance(changed, FitSettings):
            check_network(changed.backbone, changed.image_size)
    for name, dimension in space.items():
        if getattr(base_settings, name) not in dimension:
            raise SettingsError(
                f"{where}.{name}: the untuned {name}, {getattr(base_settings, name)}, lies outside ({dimension}).",
                "The first trial is the untuned one, so that tuning cannot do worse: widen it, or change the setting.",
            )
    return space


def suggest(space: Space, trial: "Trial", base_settings: S) -> S:
    """Suggest the settings of a trial.

    Raises:
        SettingsError: If its values do not go together.
    """
    return base_settings.with_changes({name: dimension.suggest(trial, name) for name, dimension in space.items()})


def _dimension(declared: Any, where: str) -> Dimension:
    if isinstance(declared, list):
        if not declared or len({repr(value) for value in declared}) < len(declared):
            raise SettingsError(f"{where}: {declared} is empty or names a value twice.", "Name each choice once.")
        return Choices(tuple(declared))
    if not isinstance(declared, dict) or not {"low", "high"} <= declared.keys() <= {"low", "high", "log", "step"}:
        raise SettingsError(
            f"{where}: {declared!r} is no range and no list of choices.",
            "As in `{ low = 1e-4, high = 1e-2, log = true }`, `{ low = 1, high = 3, step = 1 }`, or `[32, 64]`.",
        )
    numbers = {key: value for key, value in declared.items() if key != "log"}
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers.values()):
        raise SettingsError(f"{where}: {declared} does not run between numbers.", "Give a list of choices instead.")
    if any(not abs(value) <= LARGEST_BOUND for value in numbers.values()):
        raise SettingsError(f"{where}: {declared} does not run between finite numbers.", f"Up to {LARGEST_BOUND:g}.")
    found = Range(**declared)
    if not found.low < found.high:
        raise SettingsError(f"{where}: an empty range, {found}.", "`low` must be below `high`.")
    if found.log and (found.low <= 0 or found.step is not None):
        raise SettingsError(f"{where}: a logarithmic range ({declared}) starts above 0 and has no step.")
    if found.step is not None and not 0 < found.step <= found.high - found.low:
        raise SettingsError(f"{where}: a step of {found.step} does not fit {found}.")
    return found


def _combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Combine the ends of ranges and the choices; each value at least once, all combinations if they are few."""
    for name, dimension in space.items():
        for value in dimension.samples:
            yield {name: value}
    products = itertools.product(*(dimension.samples for dimension in space.values()))
    for values in itertools.islice(products, MOST_COMBINATIONS):
        yield dict(zip(space, values, strict=True))
