"""The ``fusionln`` command: its families, and the one place where an error becomes a message."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import click

from fusion_ln import __version__
from fusion_ln.errors import RENAME, FusionLNError, is_text, printable

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})  # of what is printed, too
# Settings use no plugin of pydantic, and its search for some reads the entry points of everything that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# Exit codes after Ctrl-C and SIGTERM, by the custom of shells: 128 and the signal's number.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
# Each command is an object of this name in the module of this name, imported only when it is called: settings and
# their options cost more time than the help of all commands.
COMMANDS = {
    "cohort": "Import, download, simulate and check cohorts of patients.",
    "weights": "Look at weight files that others publish, and import them for `--weights`.",
    "pretrain": "Train one backbone on several sets, each under a head of its own.",
    "run": "Train single-modality baselines, fuse them, and report.",
    "study": "Tune an experiment's settings on inner validation.",
    "compare": "Compare models on the same patients and write the evidence.",
    "plan": "Say how many patients a study needs, and write the curves.",
    "explain": "Explain predictions of RUN, each by the model of the fold that held the patient out.",
    "audit": "Test whether RUN relies on something outside the node.",
    "verify": "Recompute what RUN says from its tables, and name the first figure that differs.",
    "freeze": "Freeze RUN, a study, as a model: a folder of its own, which names no patient.",
    "serve": "Serve MODEL, a folder of `fusionln freeze` or a run, over HTTP: a page for browsers, and `/api/v1`.",
    "predict": "Predict new patients by MODEL, a folder of `fusionln freeze` or a run.",
    "export": "Export MODEL, a folder of `fusionln freeze` or a run, in forms that other programs open.",
    "evaluate": "Evaluate MODEL on another cohort, once, with everything fixed before.",
    "bench": "Measure the speed of this machine's work, each time beside a floor that is measured in the same run.",
}


class Group(click.Group):
    """A group of commands that are imported when called; a user's mistake ends in one message and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"fusion_ln.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for name in (*args, str(Path.cwd())):
            if not is_text(name):
                raise click.UsageError(f"{printable(name)}: is not UTF-8 text. {RENAME}", ctx)
        _refuse_empty(ctx, args)
        try:
            return super().parse_args(ctx, args)  # prints the help of all commands
        except OSError as error:
            _tell_unwritten(error)
        sys.exit(1)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _ended_by_sigterm():
                return super().invoke(ctx)
        except FusionLNError as error:
            click.echo(f"Error: {error}", err=True)
        except OSError as error:
            _tell_unwritten(error)
        except KeyboardInterrupt as end:
            click.echo("\nInterrupted. Finished files are kept: give the same command again to go on.", err=True)
            sys.exit(TERMINATED if isinstance(end, _Terminated) else INTERRUPTED)
        sys.exit(1)


class _Terminated(KeyboardInterrupt):
    """The end that a scheduler or a container asks for."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that fits write their states and temporary files go."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse_empty(ctx: click.Context, args: list[str]) -> None:
    """Refuse an empty value, as of a shell's unset variable: it would count as an option that was not given."""
    for before, word in zip(["", *args], args, strict=False):
        option, equals, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if equals and not value.strip():
            place = f"{option}: its value" if option.startswith("-") else "An argument"
            raise click.UsageError(f"{place} is empty. Give one, or leave it out.", ctx)


def _tell_unwritten(error: OSError) -> None:
    """Say which file could not be read or written, or that what was printed could not.

    Raises:
        OSError: If it is neither: a bug, or a reader of the pipe that has gone, which click takes.
    """
    if error.filename is not None:
        name = error.filename if isinstance(error.filename, str) else str(error.filename)[:200]
        way_out = "Check the place and its rights, or choose another."
    elif error.errno in DISK_ERRORS:
        name, way_out = "output of this command", "Free some space, or write it to another place."
        with suppress(OSError):  # what Python would flush at its end goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        raise error
    click.echo(f"Error: {name}: {error.strerror}.\n    {way_out}", err=True)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fusionln")
def cli() -> None:
    """Test whether fusing 2D, Doppler and elastography pictures classifies lymph nodes better than one of them.

    Start with `fusionln run fusion`: without `--cohort` it simulates patients, trains, fuses and reports.
    """
