"""Options come from the fields of settings, and `--set` reaches every field."""

from typing import Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field
from tiny import fusionln, refused

from fusion_ln.cli.main import COMMANDS, cli
from fusion_ln.cli.options import given, merge, parse_changes, settings_options, take
from fusion_ln.errors import SettingsError
from fusion_ln.settings.base import Settings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings


class Example(Settings):
    a_number: int = Field(3, ge=1, description="How many.")
    share: float = Field(0.5, gt=0, lt=1)
    choice: Literal["x", "y"] | None = None
    names: tuple[str, ...] = ()
    fast: bool = False
    safe: bool = True


def command(**options):
    @click.command()
    @settings_options(Example, **options)
    def run(**values):
        click.echo(repr(take(values, Example)) if options else sorted(given(values).items()))

    return run


def output(*arguments, **options):
    return CliRunner().invoke(command(**options), list(arguments)).output


def test_options_have_the_name_type_choices_help_and_default_of_the_field():
    text = " ".join(output("--help", defaults=True).split())
    assert "--a-number INTEGER RANGE How many. [default: 3; x>=1]" in text
    assert "--share FLOAT RANGE [default: 0.5; 0<x<1]" in text
    assert "--choice [x|y]" in text
    assert "--fast --safe / --no-safe [default: safe]" in text


def test_without_defaults_only_what_was_given_counts():
    assert (
        output("--names", "p", "--names", "q", "--share", "0.25").strip() == "[('names', ('p', 'q')), ('share', 0.25)]"
    )
    assert output("--safe", defaults=True).strip() == repr(Example())
    assert output("--fast", defaults=True).strip() == repr(Example(fast=True))


def test_values_separated_by_commas_are_split_where_the_command_says_so():
    assert output("--names", "p, q", "--names", "r", defaults=True, split=["names"]).strip() == repr(
        Example(names=("p", "q", "r"))
    )
    assert output("--names", "p,q", defaults=True).strip() == repr(Example(names=("p,q",)))


def test_a_default_that_the_command_finds_later_is_shown_only():
    assert "How many. [default: 7]" in " ".join(output("--help", shown={"a_number": 7}).split())


@pytest.mark.parametrize("arguments", [("--a-number", "0"), ("--share", "1"), ("--choice", "z"), ("--share", "0")])
def test_values_out_of_the_fields_bounds_are_refused(arguments):
    assert "Invalid value" in output(*arguments)


TABLES = {"fit": FitSettings, "head": HeadSettings}


def test_set_reads_numbers_truth_lists_tables_and_words():
    texts = ("fit.lr=1e-3", "fit.backbone=resnet18", "head.anchored=false", 'head.clinical=["age"]')
    changes = parse_changes((*texts, "head.finetune.epochs=2", "head.finetune.lr=0.1"), TABLES)
    assert changes["fit"] == {"lr": 1e-3, "backbone": "resnet18"}
    assert changes["head"] == {"anchored": False, "clinical": ["age"], "finetune": {"epochs": 2, "lr": 0.1}}


@pytest.mark.parametrize("table", TABLES)
def test_set_reaches_every_field(table):
    for name, field in TABLES[table].model_fields.items():
        assert parse_changes((f"{table}.{name}={field.default}",), TABLES)[table].keys() == {name}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("width=96",), "Did you mean 'head.width'"),
        (("head.finetune.epoch=1",), "Did you mean 'head.finetune.epochs'"),
        (("fit.lr=1", "fit.lr=2"), "fit.lr: given twice"),
        (("head.finetune={epochs=1}", "head.finetune.epochs=1"), "given twice"),
    ],
)
def test_set_refuses_unknown_and_repeated_keys(texts, message):
    with pytest.raises(SettingsError, match=message):
        parse_changes(texts, TABLES)


def test_a_text_without_a_value_is_a_mistake_of_use():
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        parse_changes(("fit.lr",), TABLES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "a", "b", "--prevalence", ""], "--prevalence: its value is empty"),
        (["compare", "a", "b", "--costs="], "--costs: its value is empty"),
        (["predict", "m", "--csv", " "], "--csv: its value is empty"),
        (["predict", ""], "An argument is empty"),
        (["run", "baseline", "--fractions", "0.5,,1"], "'0.5,,1' has an empty value between commas"),
    ],
)
def test_an_empty_value_is_refused_and_not_taken_for_none(words, message):
    """It comes from a variable of a shell that is not set."""
    assert message in refused(*words)


def test_an_option_of_one_value_that_is_given_twice_is_refused():
    """The first value would be lost without a word."""
    single = [
        (path, option.opts[-1])
        for path, command in all_commands(cli)
        for option in command.params
        if path and not isinstance(command, click.Group)
        if isinstance(option, click.Option) and not (option.multiple or option.is_flag)
    ]
    assert (("run", "fusion"), "--head") in single
    for path, name in single:
        assert f"{name} is given 2 times. Give it once" in refused(*path, name, "1", name, "2")


def test_options_and_set_are_joined_but_not_for_one_setting():
    assert merge({"finetune": {"accumulate": 2}}, {"finetune": {"lr": 1}}, "head") == {
        "finetune": {"accumulate": 2, "lr": 1}
    }
    with pytest.raises(SettingsError, match=r"head\.finetune\.lr: given as an option, too"):
        merge({"finetune": {"lr": 2}}, {"finetune": {"lr": 1}}, "head")


def all_commands(command, path=()):
    """Yield every command below one, with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from all_commands(command.get_command(context, name), (*path, name))


def test_every_option_of_every_command_has_a_help_text():
    commands = dict(all_commands(cli))
    assert ("cohort", "import", "us3m") in commands
    silent = [
        (*path, option.opts[0])
        for path, command in commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_the_first_help_says_of_each_command_what_its_own_help_says():
    found = {path[0]: command.get_short_help_str(limit=200) for path, command in all_commands(cli) if len(path) == 1}
    assert found == COMMANDS


def test_a_command_of_several_shows_the_whole_first_sentence_of_each():
    text = " ".join(fusionln("study", "--help").split())
    assert "Write the tuned experiment, run its folds beside the untuned ones, and report on all of them." in text
