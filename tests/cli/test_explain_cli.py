"""`fusionln explain`: its one command with a default, and every bad input with its message."""

import click
import pytest
from click.testing import CliRunner
from tiny import invoke

from fusion_ln.cli.explain import ExplainGroup

pytestmark = pytest.mark.usefixtures("undrawn")


def run(*arguments: str) -> tuple[int, str]:
    return invoke("explain", *arguments)


@pytest.fixture
def group() -> ExplainGroup:
    """A group with the default command and another one, both of which only say that they were called."""
    group = ExplainGroup("explain")
    for name in ("maps", "audit"):
        command = click.Command(
            name,
            params=[click.Argument(["run"]), click.Option(["--out"])],
            callback=lambda run, out, name=name: click.echo(f"{name} {run} {out}"),
        )
        group.add_command(command)
    return group


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["RUN"], "maps RUN None"),
        (["RUN", "--out", "x"], "maps RUN x"),
        (["--out", "x", "RUN"], "maps RUN x"),
        (["audit", "RUN"], "audit RUN None"),
        (["./audit"], "maps ./audit None"),  # a run of that name
    ],
)
def test_without_a_name_the_explanation_is_meant(group, arguments, output):
    assert CliRunner().invoke(group, arguments).output.strip() == output


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["run", "--sample", "0"], "explain [OPTIONS] RUN"),
        (["--help"], "explain [OPTIONS] RUN"),
        (["audit", "--help"], "audit [OPTIONS] RUN"),
    ],
)
def test_each_usage_is_one_that_exists(arguments, usage):
    _, output = run(*arguments)
    [said] = [line for line in output.splitlines() if line.startswith("Usage: ")]
    assert said.split(maxsplit=2)[2] == usage


def test_help_shows_the_options_of_the_explanation():
    code, output = run("--help")
    assert code == 0
    assert "RUN" in output.splitlines()[0]
    assert "--out" in output
