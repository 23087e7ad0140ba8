"""Pages of measurements: a Markdown header with command, date, hardware and versions, then a table."""

import os
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version

from fusion_ln.records.origin import PASSWORD, hardware, installed_versions


def header(title: str, packages: Iterable[str], description: str = "") -> list[str]:
    """Write the lines above the table of a page.

    Args:
        title: Of the page.
        packages: Python packages that shape what is measured.
        description: A line below the title.
    """
    machine, versions = hardware(), installed_versions()
    installed = {package: versions.get(package) or version(package) for package in packages}
    command = PASSWORD.sub(r"\1:***@", shlex.join(["fusionln", *sys.argv[1:]]))
    return [
        f"# {title}",
        "",
        *([description, ""] if description else []),
        f"Command: `{command}`",
        f"Date: {datetime.now(UTC):%Y-%m-%d}; load of the machine at the start: {os.getloadavg()[0]:.1f}",
        f"Hardware: {machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB",
        f"Versions: python {versions['python']}, " + ", ".join(f"{name} {each}" for name, each in installed.items()),
        "",
    ]


def describe_origin(*packages: str) -> str:
    """Say, in a line, when and how a script was run: date, command, machine, versions of Python and of packages."""
    machine, versions = hardware(), installed_versions()
    installed = ", ".join(f"{package} {versions.get(package) or version(package)}" for package in packages)
    return (
        f"Written {datetime.now(UTC):%Y-%m-%d} by `{shlex.join(['python', *sys.argv])}` on {machine.cores} cores "
        f"({machine.processor}, {machine.memory_gib} GiB), Python {versions['python']}, {installed}."
    )


def table_head(columns: Iterable[str]) -> list[str]:
    """Write the head of a Markdown table."""
    names = list(columns)
    return [table_row(names), table_row(["---"] * len(names))]


def table_row(cells: Iterable[str]) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
