"""The ``fusionln`` command: its families, and the one place where an error becomes a message."""

import sys

import click

from fusion_ln import __version__
from fusion_ln.cli.audit import audit
from fusion_ln.cli.bench import bench
from fusion_ln.cli.cohort import cohort
from fusion_ln.cli.compare import compare
from fusion_ln.cli.explain import explain
from fusion_ln.cli.predict import predict
from fusion_ln.cli.pretrain import pretrain
from fusion_ln.cli.run import run
from fusion_ln.cli.study import study
from fusion_ln.errors import FusionLNError


class Group(click.Group):
    """A command group that ends a user's mistake in one message and exit code 1; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except FusionLNError as error:
            click.echo(f"Error: {error}", err=True)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. What is finished is kept: the same command goes on from there.", err=True)
        sys.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fusionln")
def cli() -> None:
    """Does fusing 2D, Doppler and elastography pictures tell lymph nodes apart better than one of them?

    Start with `fusionln run fusion`: without `--cohort` it simulates patients, trains, fuses and reports.
    """


for command in (cohort, pretrain, run, study, compare, explain, predict, bench):
    cli.add_command(command)
explain.add_command(audit)
