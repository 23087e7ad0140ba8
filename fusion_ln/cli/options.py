"""Options of commands, read from the fields of settings: name, type, choices, bounds and help have one home."""

import tomllib
from collections.abc import Callable, Collection, Mapping
from types import NoneType
from typing import Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.settings.base import Settings

F = TypeVar("F", bound=Callable[..., object])
S = TypeVar("S", bound=Settings)


def settings_options(
    model: type[Settings],
    *names: str,
    defaults: bool = False,
    flags: Mapping[str, str] | None = None,
    metavars: Mapping[str, str] | None = None,
    shown: Mapping[str, object] | None = None,
    split: Collection[str] = (),
) -> Callable[[F], F]:
    """Make one option per field, in this order; it is None (a repeatable one empty) where it was not given.

    Args:
        model: The settings.
        names: Fields; all of them by default.
        defaults: Give the options the defaults of the fields, and show them.
        flags: Option by field, where it is not the field's name.
        metavars: Word for the value by field, where the type says too little.
        shown: Default to show by field, where the command finds it later.
        split: Repeatable fields of which one text may hold several values, separated by commas.
    """

    def decorate(command: F) -> F:
        for name in reversed(names or tuple(model.model_fields)):
            option = _option(
                model.model_fields[name],
                (flags or {}).get(name, f"--{name.replace('_', '-')}"),
                name,
                defaults=defaults,
                metavar=(metavars or {}).get(name),
                shown=(shown or {}).get(name),
                split=name in split,
            )
            command = option(command)
        return command

    return decorate


def _option(
    field: FieldInfo, flag: str, name: str, *, defaults: bool, metavar: str | None, shown: object, split: bool
) -> Callable[[F], F]:
    kind = _plain(field.annotation)
    repeatable = get_origin(kind) is tuple
    default = field.default if defaults else None
    if kind is bool and default is not False:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    return click.option(
        flag,
        name,
        type=click.STRING if split else _type(get_args(kind)[0] if repeatable else kind, field),
        is_flag=kind is bool,
        multiple=repeatable,
        callback=_split_texts if split else None,
        default=default,
        show_default=default is not None and default != (),
        required=defaults and field.is_required(),
        metavar=metavar,
        help=field.description if shown is None else f"{field.description}  [default: {shown}]",
    )


def _split_texts(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Split texts at commas."""
    values = tuple(value.strip() for text in texts for value in text.split(","))
    if not all(values):
        raise click.BadParameter(f"{','.join(texts)!r} has an empty value between commas.")
    return values


def _plain(annotation: object) -> object:
    """Return the type of a field without its None."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(annotation) and len(kinds) == 1 else annotation


def _type(kind: object, field: FieldInfo) -> "click.Choice[str] | click.ParamType[object]":
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    bounds = {name: getattr(m, name) for m in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(m, name)}
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if kind is int:
        return click.IntRange(low, high, min_open="gt" in bounds, max_open="lt" in bounds) if bounds else click.INT
    if kind is float:
        return click.FloatRange(low, high, min_open="gt" in bounds, max_open="lt" in bounds) if bounds else click.FLOAT
    return click.BOOL if kind is bool else click.STRING


def take(options: dict[str, object], model: type[S]) -> S:
    """Build settings from the options that bear their fields' names, and take these out of ``options``."""
    return model.read({name: options.pop(name) for name in list(options) if name in model.model_fields}, "options")


def given(options: Mapping[str, object]) -> dict[str, object]:
    """Keep the options that were given."""
    return {name: value for name, value in options.items() if value is not None and value != ()}


def set_option(**models: type[Settings]) -> Callable[[F], F]:
    """Make ``--set KEY=VALUE``, which reaches every setting: ``changes`` holds the values by table.

    Args:
        models: The settings of each table, by its name, the first part of a key.
    """
    tables = " or ".join(f"{table}.NAME" for table in models)

    def parse(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, dict[str, object]]:
        return parse_changes(texts, models)

    return click.option(
        "--set",
        "changes",
        metavar="KEY=VALUE",
        multiple=True,
        callback=parse,
        help=f"Any setting, {tables}, as in `--set {next(iter(models))}.weight_decay=0.01`; repeatable. Values as in "
        "TOML, words without quotes.",
    )


def parse_changes(texts: tuple[str, ...], models: Mapping[str, type[Settings]]) -> dict[str, dict[str, object]]:
    """Read ``table.key=value`` texts as tables of values.

    Raises:
        SettingsError: If a key does not exist, or is given twice.
    """
    known = [key for table, model in models.items() for key in _keys(model, f"{table}.")]
    tables: dict[str, dict[str, object]] = {table: {} for table in models}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE.")
        if key not in known:
            raise SettingsError(*unknown("setting", key, known, where="--set"))
        table, *parents, name = key.split(".")
        place = tables[table]
        for parent in parents:
            inner = place.setdefault(parent, {})
            place = inner if isinstance(inner, dict) else {name: None}
        if name in place:
            raise SettingsError(f"--set {key}: given twice.", "Give each setting once.")
        place[name] = plain_value(value)
    return tables


def _keys(model: type[Settings], prefix: str) -> list[str]:
    """List the dotted keys of all settings below a prefix."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(f"{prefix}{name}")
        kind = _plain(field.annotation)
        if isinstance(kind, type) and issubclass(kind, Settings):
            keys += _keys(kind, f"{prefix}{name}.")
    return keys


def plain_value(text: str) -> object:
    """Read a value as TOML or, failing that, as a word."""
    try:
        values: dict[str, object] = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return values["value"] if len(values) == 1 else text


def merge(options: Mapping[str, object], changes: Mapping[str, object], table: str) -> dict[str, object]:
    """Join options and ``--set`` values of one table.

    Raises:
        SettingsError: If a setting is given both ways.
    """
    merged = dict(options)
    for name, value in changes.items():
        held = merged.get(name)
        if isinstance(held, dict) and isinstance(value, dict):
            merged[name] = merge(held, value, f"{table}.{name}")
        elif name in merged:
            raise SettingsError(
                f"--set {table}.{name}: given as an option, too (--{name.replace('_', '-')}).", "Give one of them."
            )
        else:
            merged[name] = value
    return merged
