"""Origin of a run: when, by which command, with which versions and on which machine."""

import os
import platform
import re
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from fusion_ln.records.parts import Recorded
from fusion_ln.threads import cores

RECORDED_PACKAGES = ("fusion_ln", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "pandas", "scikit-learn")
PASSWORD = re.compile(r"(://[^/@:\s]*):[^@\s]*@")  # in the URL of a database


class Hardware(Recorded):
    """The machine that computed a run."""

    system: str
    processor: str
    cores: int
    memory_gib: float


class Origin(TypedDict):
    """Time, command, versions and machine of the start of a run."""

    command: str
    started: str
    versions: dict[str, str]
    hardware: Hardware


def new_origin() -> Origin:
    """Capture command, time, versions and hardware of a run that begins now."""
    return {
        "command": PASSWORD.sub(r"\1:***@", shlex.join(["fusionln", *sys.argv[1:]])),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": installed_versions(),
        "hardware": hardware(),
    }


def installed_versions() -> dict[str, str]:
    """Look up the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> Hardware:
    """Describe the machine of this process."""
    return Hardware(
        system=platform.platform(terse=True),
        processor=_processor(),
        cores=cores(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    )


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()
