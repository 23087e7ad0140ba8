"""Speed of a report beside the drawing of as many empty figures."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt

from fusion_ln.bench.record import Figure, measure
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.report.kit import style
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.runs import RunFolder


def report_figures(roots: Sequence[Path]) -> Iterator[Figure]:
    """Time the report of finished runs of one cohort."""
    with tempfile.TemporaryDirectory() as folder:
        numbers, runs = count(), [RunFolder(root) for root in roots]
        cohort = open_run_cohort(runs[0], None)

        def ours() -> None:
            write_results(Path(folder) / str(next(numbers)), read_results(runs, cohort), title="Timed")

        def empty() -> None:
            for _ in range(len(list((Path(folder) / "0" / "figures").glob("*.png")))):
                figure, axes = plt.subplots()
                axes.plot([0, 1], [0, 1])
                figure.savefig(Path(folder) / "empty.png", dpi=style.PNG_DPI)
                plt.close(figure)

        task = f"report of {len(roots)} runs"
        yield measure("report", task, ours, "as many figures of one line each, as PNG", empty, rounds=1)
