"""Base of all settings; an unknown key is refused."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.progress import say

Protocol = Literal["nested", "paper"]

# Models that answer for a study: the mean of its folds' models, or one trained once more on all patients.
Answer = Literal["ensemble", "refit"]

# Marks a field that was added after the first runs: at its default it is not written, so that older studies match.
ADDED: JsonDict = {"added": True}
MOST = 1_000_000  # of what is counted, far beyond sense: a slip is refused before anything is allocated
LAST_SEED = 2**32 - 1
RECORDED = {"recorded": True}  # context of the validation of what was written with a run


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    RENAMED: ClassVar[Mapping[str, str]] = {}  # old keys, read for one release, and their names now

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: object) -> object:
        return cls.rename(values) if isinstance(values, Mapping) else values

    @model_serializer(mode="wrap")
    def _omit_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out settings that were added after the first runs, where at their default, so that studies match."""
        values: dict[str, Any] = dump(self)
        added = {key: f for key, f in type(self).model_fields.items() if f.json_schema_extra == ADDED}
        return {key: value for key, value in values.items() if key not in added or value != added[key].default}

    @classmethod
    def rename(cls, values: Mapping[str, object]) -> dict[str, object]:
        """Give old keys their names of today, and say so once."""
        if old := tuple(key for key in values if key in cls.RENAMED):
            _say_renamed(old, tuple(cls.RENAMED[key] for key in old))
        if twice := [key for key in old if cls.RENAMED[key] in values]:
            raise SettingsError(f"{twice[0]}: the old name of {cls.RENAMED[twice[0]]}, which is given, too.")
        return {cls.RENAMED.get(key, key): value for key, value in values.items()}

    @classmethod
    def read(cls, values: Mapping[str, object], where: str, *, recorded: bool = False) -> Self:
        """Build from plain values; ``recorded`` ones may hold what an earlier version took and never used.

        Raises:
            SettingsError: If a key is unknown or a value does not fit, naming ``where`` and every offender.
        """
        try:
            return cls.model_validate(values, context=RECORDED if recorded else None)
        except ValidationError as error:
            raise SettingsError(*cls._describe(error, where)) from None

    @classmethod
    def _describe(cls, error: ValidationError, where: str) -> tuple[str, str]:
        """Describe all errors of a validation: the problems and, of unknown keys, the ways out."""
        problems, ways_out = [], []
        for each in error.errors(include_url=False):
            path = [str(key) for key in each["loc"]]
            if each["type"] == "extra_forbidden":
                known = cls.model_at(path[:-1]).model_fields
                problem, way_out = unknown("setting", path[-1], known, where=".".join(path[:-1]))
                ways_out.append(way_out)
            else:
                place = f"{'.'.join(path)}: " if path else ""  # none: of several settings, which the message names
                problem = f"{place}{each['msg'].removeprefix('Value error, ')}."
            problems.append(problem)
        return f"{where}: {' '.join(problems)}", " ".join(ways_out)

    @classmethod
    def model_at(cls, path: Sequence[str]) -> "type[Settings]":
        """Return the settings that lie at a path of keys."""
        model: type[Settings] = cls
        for key in path:
            field = model.model_fields.get(key)
            types = [field.annotation, *get_args(field.annotation)] if field else []
            model = next((t for t in types if isinstance(t, type) and issubclass(t, Settings)), model)
        return model

    def with_changes(self, changes: Mapping[str, object], where: str = "tuned settings") -> Self:
        """Copy the settings with some values changed.

        Raises:
            SettingsError: If a change does not fit, naming ``where``.
        """
        return self.read({**self.model_dump(), **self.rename(changes)}, where)


@cache
def _say_renamed(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    say(f"Settings {', '.join(old)} are now called {', '.join(new)}; the old names are read for one more release.")
