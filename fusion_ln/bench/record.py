"""Record of measured speed: figures beside floors of the same run, their table, and their change since another."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from fusion_ln.bench.page import header, table_head, table_row
from fusion_ln.errors import SettingsError
from fusion_ln.files.formats import parse, write_json, write_text
from fusion_ln.records.origin import PASSWORD, Hardware, hardware, installed_versions
from fusion_ln.records.parts import Recorded

PACKAGES = ("fusion_ln", "torch", "timm", "numpy")
NOTABLE = 0.1  # change of a ratio that is marked
RATIO = (
    "Ratio: time over that of the floor, which is meant as the least possible: below 1 the floor computes more, or was "
    "slow."
)


class Figure(Recorded):
    """A measured time beside a floor that was measured in the same run.

    Attributes:
        benchmark: Command that measures it.
        task: What was done.
        seconds: Time it took, per unit that the task names.
        floor: The least that this machine needs for it, in words.
        floor_seconds: Time of the floor, per the same unit.
    """

    benchmark: str
    task: str
    seconds: float
    floor: str
    floor_seconds: float

    @property
    def ratio(self) -> float:
        """Times the floor: 1 is the floor itself."""
        return self.seconds / self.floor_seconds


class SpeedRecord(Recorded):
    """Figures of one run of `fusionln bench`, with machine, its load before, versions and date."""

    format: int = 1
    command: str
    date: str
    load: float
    hardware: Hardware
    versions: dict[str, str]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, figures: Iterable[Figure], load: float) -> "SpeedRecord":
        """Make the record of figures that were measured now, on a machine of this load when they began."""
        return cls(
            command=PASSWORD.sub(r"\1:***@", shlex.join(["fusionln", *sys.argv[1:]])),
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            load=round(load, 1),
            hardware=hardware(),
            versions=installed_versions(),
            figures=tuple(figures),
        )

    @classmethod
    def read(cls, path: Path) -> "SpeedRecord":
        """Read a record that ``--out`` wrote.

        Raises:
            SettingsError: If the file is not one.
        """
        try:
            return cls.model_validate(parse(path.read_text(encoding="utf-8"), json.loads))
        except (OSError, ValueError, ValidationError) as error:
            raise SettingsError(
                f"{path}: holds no figures of `fusionln bench` ({str(error).splitlines()[0]}).",
                "Write them with `fusionln bench ... --out FILE.json`.",
            ) from None


def measure(
    benchmark: str, task: str, work: Callable[[], object], floor: str, least: Callable[[], object], *, rounds: int = 3
) -> Figure:
    """Time ``work`` and ``least`` in turns, so that a machine that slows down slows both; medians of ``rounds``."""
    times: list[tuple[float, float]] = [(seconds(work), seconds(least)) for _ in range(rounds)]
    ours, floors = zip(*times, strict=True)
    return Figure(
        benchmark=benchmark, task=task, seconds=median(ours), floor=floor, floor_seconds=max(median(floors), 1e-9)
    )


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def speed_page(figures: Iterable[Figure], *, against: Path | None, out: Path | None) -> Iterator[str]:
    """Yield the lines of the page of figures, each when it is known, and write what was asked for.

    Args:
        figures: Measured as they are taken.
        against: Record of an earlier run, whose ratios stand beside.
        out: File to write: the record if it ends in ``.json``, else the page.
    """
    before = SpeedRecord.read(against) if against else None
    earlier = {(each.benchmark, each.task): each for each in before.figures} if before else {}
    page, found, load = [], [], os.getloadavg()[0]

    def line(text: str) -> str:
        page.append(text)
        return text

    for text in header("Measured speed", PACKAGES, RATIO):
        yield line(text)
    if before:
        yield line(f"Before: {before.date}, {before.hardware.processor}, {before.hardware.cores} cores, {against}")
        yield line("")
    columns = ["Benchmark", "Task", "Time", "Floor", "Time of the floor", "Ratio"]
    for text in table_head([*columns, *(["Ratio before", "Change"] if before else [])]):
        yield line(text)
    for figure in figures:
        found.append(figure)
        cells = [figure.benchmark, figure.task, in_words(figure.seconds), figure.floor, in_words(figure.floor_seconds)]
        cells.append(f"{figure.ratio:.2f}")
        if before:
            cells += _change(figure, earlier.get((figure.benchmark, figure.task)))
        yield line(table_row(cells))
    if out and out.suffix == ".json":
        write_json(out, SpeedRecord.of(found, load).model_dump(mode="json"))
    elif out:
        write_text(out, "\n".join(page) + "\n")
    if out:
        yield f"Wrote {out}"


def in_words(value: float) -> str:
    """Write a time with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _change(figure: Figure, earlier: Figure | None) -> list[str]:
    """Write the earlier ratio and the change since; a notable one is marked."""
    if earlier is None:
        return ["not measured", ""]
    change = figure.ratio / earlier.ratio - 1
    mark = "" if abs(change) < NOTABLE else ", slower" if change > 0 else ", faster"
    return [f"{earlier.ratio:.2f}", f"{100 * change:+.0f} %{mark}"]
