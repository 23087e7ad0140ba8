"""Pages of some runs of one cohort: the report and, where they apply, those over seeds and starting weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from fusion_ln.clinical.columns import columns_title, is_finding
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.draws import Draw
from fusion_ln.records.kinds import BaselineRecord, LateFusionRecord, TrainedFusionRecord
from fusion_ln.report.learning_curve import write_learning_curve
from fusion_ln.report.record import DrawRecord, PageRecord, refuse_other_page, relative
from fusion_ln.report.run.page import write_results
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.seeds.page import write_seeds
from fusion_ln.report.seeds.repeats import write_repeats
from fusion_ln.report.starts import write_ablation
from fusion_ln.runs import RunFolder
from fusion_ln.terms import modality_title

KINDS = ("runs", "experiment")  # of pages that may replace each other: both are of the runs in their folder


class Heading(NamedTuple):
    """Title of a page, and the question that it answers."""

    title: str
    question: str


def baseline_heading(cohort: Cohort, modality: str) -> Heading:
    """Head the page of one modality."""
    alone = f"{modality_title(modality)} alone"
    return Heading(f"{cohort.name}: {alone}", f"How well does {alone} tell the classes apart?")


def fusion_heading(cohort: Cohort) -> Heading:
    """Head the page of all modalities and their fusions."""
    question = "Does fusing the pictures tell the classes apart better than the best modality alone?"
    return Heading(f"{cohort.name}: does fusion help?", question)


def columns_heading(cohort: Cohort, columns: Sequence[str], *, with_pictures: bool) -> Heading:
    """Head the page of models of the cohort's table, alone or beside runs of pictures."""
    added, alone = "What do the pictures add to what is known without them?", "How much is known without pictures?"
    if any(is_finding(column, cohort.modalities) for column in columns):  # which a reader knows from pictures
        added, alone = "What do the pictures add to these columns?", "How much do these columns tell?"
    return Heading(f"{cohort.name}: {columns_title(columns, cohort.modalities)}", added if with_pictures else alone)


def write_runs(
    out: Path,
    runs: list[RunFolder],
    cohort: Cohort,
    heading: Heading,
    *,
    further: Sequence[tuple[Draw, list[RunFolder]]] = (),
    chosen_from: Sequence[str] = (),
) -> dict[str, Path]:
    """Write the report of some runs and, where the same models ran on further draws, the page over all draws.

    Args:
        out: Folder of the pages.
        runs: Finished runs; the first fusion leads.
        cohort: Their cohort.
        heading: Title and question.
        further: The same runs on further draws of the cohort.
        chosen_from: Names of fusions: the one with the highest AUC on inner validation leads instead.

    Returns:
        The paths by name.

    Raises:
        RunError, PredictionsError: See `refuse_other_page`, `read_results`, `write_repeats` and `write_learning_curve`.
    """
    refuse_other_page(out, *KINDS)
    title, question = heading
    results = read_results(runs, cohort)
    if chosen_from:
        results = results.led_by_best(chosen_from)
        leader = results.fusions[0].name
        runs = _lead_with(leader, runs)
        further = [(draw, _lead_with(leader, of_draw)) for draw, of_draw in further]
    drawn = [(draw.fraction, read_results(of_draw, draw.cohort)) for draw, of_draw in further]
    pages = {}
    if any(fraction < 1 for fraction, _ in drawn):
        pages["Curve"] = write_learning_curve(out, {1.0: results, **dict(drawn)}, title=title, question=question)
    elif drawn:
        repeats = [results, *(of_draw for _, of_draw in drawn)]
        pages["Repeats"] = write_repeats(out, repeats, title=title, question=question)
    report = write_results(out, results, title=title, question=question, seeds=pages.get("Repeats"))
    _record(out, "runs", runs, heading, further, chosen_from)
    return {"Runs": out, "Report": report, **pages}


def _lead_with(leader: str, runs: list[RunFolder]) -> list[RunFolder]:
    return sorted(runs, key=lambda run: run.name != leader)


def write_experiment(out: Path, runs: list[RunFolder], cohort: Cohort, heading: Heading) -> dict[str, Path]:
    """Write the report of an experiment and, where there are several seeds of fusions or several weights, their pages.

    Returns:
        The paths by name.

    Raises:
        RunError, PredictionsError: See `refuse_other_page`, `read_results` and `write_ablation`.
    """
    refuse_other_page(out, *KINDS)
    title, question = heading
    results = read_results(runs, cohort)
    seeds = write_seeds(out, results, title=title, question=question) if len(_fusion_seeds(runs)) > 1 else None
    paths = {"Runs": out, "Report": write_results(out, results, title=title, question=question, seeds=seeds)}
    if seeds:
        paths["Seeds"] = seeds
    if len(_weights(runs)) > 1:
        paths["Starts"] = write_ablation(out, runs, cohort, title=title, question=question)
    _record(out, "experiment", runs, heading)
    return paths


def _record(
    out: Path,
    kind: Literal["runs", "experiment"],
    runs: list[RunFolder],
    heading: Heading,
    further: Sequence[tuple[Draw, list[RunFolder]]] = (),
    chosen_from: Sequence[str] = (),
) -> None:
    """Write the record of the pages, last."""

    def places(folders: list[RunFolder]) -> tuple[str, ...]:
        return tuple(relative(run.root, out) for run in folders)

    draws = tuple(DrawRecord(runs=places(of_draw), fraction=draw.fraction) for draw, of_draw in further)
    record = PageRecord(
        kind=kind,
        runs=places(runs),
        draws=draws,
        chosen_from=tuple(chosen_from),
        title=heading.title,
        question=heading.question,
    )
    record.write(out)


def _fusion_seeds(runs: list[RunFolder]) -> set[int]:
    """Collect the seeds of all fusions."""
    seeds = set()
    for run in runs:
        record = run.read_record()
        if isinstance(record, LateFusionRecord | TrainedFusionRecord):
            seeds |= {member.seed for member in record.settings.members.values()}
    return seeds


def _weights(runs: list[RunFolder]) -> set[str]:
    """Collect the starting weights of all baselines."""
    return {r.settings.fit.weights for run in runs if isinstance(r := run.read_record(), BaselineRecord)}
