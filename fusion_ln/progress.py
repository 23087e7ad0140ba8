"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SECONDS_BETWEEN_LINES = 10.0


def first_process() -> bool:
    """Test whether this is the process that prints and reports, of those that share a fit."""
    ranks = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK")  # torchrun's, or Fabric's own launcher's
    return all(os.environ.get(rank, "0") == "0" for rank in ranks)


def say(text: str) -> None:
    """Print one line to standard error, at once; results go through ``click.echo`` instead."""
    if first_process():
        with suppress(OSError):  # a log on a full disk ends no training
            print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show the progress of ``total`` steps; the body calls the yielded function once per step.

    Its argument is a short note shown behind the bar ("fold 2, AUC 0.91") and may be empty.
    """
    if sys.stderr.isatty() and first_process():
        with _bar(title, total) as step:
            yield step
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    title_column, note_column = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (title_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note_column)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, note="")

        def step(note: str = "") -> None:
            bar.update(task, advance=1, note=note)

        yield step


def _lines(title: str, total: int) -> Callable[[str], None]:
    done, last_line = 0, time.monotonic()

    def step(note: str = "") -> None:
        nonlocal done, last_line
        done += 1
        if done == total or time.monotonic() - last_line >= SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            say(f"{title}: {done}/{total}" + (f", {note}" if note else ""))

    return step
