"""Page of a plan: patients that a study needs, with the curves of precision and power over their number."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fusion_ln.errors import PredictionsError, RunError, SettingsError
from fusion_ln.evaluation.delong import MACRO
from fusion_ln.evaluation.planning.patients import ASSUMED, Need, plan_from_assumptions, plan_from_runs, tabulate
from fusion_ln.evaluation.planning.settings import PlanSettings
from fusion_ln.files.folders import refuse_taken
from fusion_ln.predictions import Predictions, read_predictions
from fusion_ln.records.parts import CohortSummary
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import NARROW, WIDE, Plate, mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK, LIGHT, MUTED, OTHERS, cell, number, signed, signed_spread
from fusion_ln.report.record import PageRecord, refuse_other_page, relative
from fusion_ln.runs import RunFolder
from fusion_ln.terms import PAGE_RECORD
from fusion_ln.units import are_nodes

MOST_RUNS = 2
TITLES = {
    "AUC": "AUC with an interval of this width",
    "gain": "Gain in AUC, found with this power",
    "sensitivity": "Sensitivity with an interval of this width",
}
AXIS_TITLES = {"AUC": "Width of the 95 % interval", "gain": "Power", "sensitivity": "Width of the 95 % interval"}


def write_plan(out: Path, runs: list[Path], settings: PlanSettings) -> tuple[Path, list[Need]]:
    """Plan a study and write ``plan.html`` with its curves and table; returns its path and the needs.

    Raises:
        SettingsError: If there are more than two runs, or assumptions do not fit.
        RunError, PredictionsError: If the runs cannot be read or do not fit together.
    """
    refuse_taken(out, PAGE_RECORD)
    refuse_other_page(out, "plan")
    if len(runs) > MOST_RUNS:
        raise SettingsError(f"{len(runs)} runs; a plan compares two at most.", "Name the better model first.")
    models, simulated = _read(runs)
    needs = plan_from_runs(models, settings) if runs else plan_from_assumptions(settings)
    with style.figure_style():
        plates = [_draw(aim, needs, simulated) for aim in TITLES if any(need.aim == aim for need in needs)]
    sheet = Sheet(
        "plan",
        "Patients needed",
        _without_idle(tabulate(needs)),
        headings={"of_class": "Of the class", "assumed": "Found" if runs else "Assumed"},
        words={"aim": TITLES, "class": {ASSUMED: "One class", MACRO: "Mean of the classes"}},
    )
    page = write_page(
        out / "plan.html",
        "plan.html",
        plates,
        [sheet],
        simulated=simulated,
        names=list(models),
        sheet=sheet,
        plates=plates,
        lead=describe_needs([_first(needs)])[0],
        gains=[caution(need) for need in needs if need.aim == "gain" and need.of_class == MACRO],
    )
    PageRecord(kind="plan", runs=tuple(relative(run, out) for run in runs), plan=settings).write(out)
    return page, needs


def _read(paths: list[Path]) -> tuple[dict[str, Predictions], bool]:
    """Read the predictions by the names of their folders or files, and whether the patients are simulated.

    Raises:
        RunError: If a run is unfinished, or of another cohort or other folds than the first.
        PredictionsError: If one is given twice, or predictions break their schema.
    """
    models: dict[str, Predictions] = {}
    summaries: list[CohortSummary] = []
    seen: set[Path] = set()
    for path in paths:
        run = RunFolder(path)
        place = (run.predictions if path.is_dir() else path).resolve()
        if place in seen:
            raise PredictionsError(f"{path}: given twice.", "Name each model once.")
        seen.add(place)
        if path.is_dir():
            record = run.read_prediction_record()
            if not run.finished:
                raise RunError(f"{path}: unfinished.", f"The same command again goes on: {record.command}")
            if summaries:
                run.check_cohort(summaries[0])
            summaries.append(record.cohort)
        models[_name(path, paths)] = read_predictions(place)
        if are_nodes(models[_name(path, paths)].patients):
            raise PredictionsError(
                f"{path}: predicts nodes, several of a patient; how many patients a study of these needs is not "
                "computed.",
                "Plan from runs with one prediction per patient, or from assumptions.",
            )
    return models, any(summary.simulated for summary in summaries)


def _name(path: Path, paths: list[Path]) -> str:
    """Name a run by its folder or file, with the folder above where another one is called the same."""
    place = path.resolve()
    alike = sum(other.resolve().name == place.name for other in paths) > 1
    return f"{place.parent.name}/{place.name}" if alike else place.name


def describe_needs(needs: list[Need]) -> list[str]:
    """Say each need in a line for the terminal."""
    lines = []
    for need in needs:
        found = need.patients
        none = "no gain to find" if need.value <= 0 else "more than a million patients"
        patients = none if found is None else f"{found:,} patients"
        if found is not None and not np.isnan(need.share):
            patients += f" ({round(need.share * found):,} of the class)"
        value, of_class = number(need.value), "" if need.of_class in (MACRO, ASSUMED) else f" of {need.of_class}"
        what = {
            "AUC": f"AUC{of_class} of {value}, interval {cell(need.target)} wide",
            "gain": f"Gain in AUC{of_class} of {signed(need.value)}, power {cell(need.target)}",
            "sensitivity": f"Sensitivity{of_class} of {value}, interval {cell(need.target)} wide",
        }[need.aim]
        reached = f"{'power' if need.aim == 'gain' else 'width'} {cell(need.at(need.now))}" if need.now else ""
        now = f"; now {need.now:,} patients, {reached}" if need.now and (need.aim != "gain" or need.value > 0) else ""
        lines.append(f"{what}: {patients}{now}.")
    return lines


def _without_idle(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the columns on runs, or on the gain that they found, where there are none."""
    idle = [name for name in ("found_low", "found_high", "patients_now", "reached_now") if table[name].isna().all()]
    return table.drop(columns=idle)


def _first(needs: list[Need]) -> Need:
    """Choose the need that the page leads with: the gain, if there is one."""
    return next((need for need in needs if need.aim == "gain"), needs[0])


def caution(need: Need) -> str:
    """Say how sure the gain is that a plan rests on; empty where it was assumed."""
    low, high = need.ends
    if np.isnan(low):
        return ""
    text = f"The runs found a gain with a 95 % interval of {signed_spread(low, high)}"
    if high < 0:
        return (
            f"{text}: a loss. Name the better run first, or plan for the smallest gain that is worth having (--gain)."
        )
    if low <= 0:
        return f"{text}: it may be none, so plan for the smallest gain that is worth having (--gain)."
    return f"{text}. A gain that was looked for is found too large on average: plan for a smaller one (--gain)."


def _draw(aim: str, needs: list[Need], simulated: bool) -> Plate:
    """Draw width or power over the number of patients; a dot marks the patients needed."""
    shown = [need for need in needs if need.aim == aim]
    known = [need.patients for need in shown if need.patients] + [need.now for need in shown if need.now]
    most = 4 * max([*known, 100])
    patients = np.unique(np.geomspace(20, most, 200).round()).astype(int)
    figure = Figure(figsize=(WIDE, NARROW), layout="constrained")
    axes = figure.add_subplot()
    classes = [name for name in dict.fromkeys(need.of_class for need in needs) if name not in (MACRO, ASSUMED)]
    for need in shown:
        place = classes.index(need.of_class) if need.of_class in classes else None
        colour = LIGHT["fusion" if place is None else OTHERS[place % len(OTHERS)]]
        name = {MACRO: "mean of the classes", ASSUMED: "one class"}.get(need.of_class, need.of_class)
        axes.plot(patients, need.curve(patients), color=colour, lw=1.6, label=name)
        if need.patients:
            axes.scatter([need.patients], [need.at(need.patients)], color=colour, s=28, zorder=3, lw=0)
    axes.axhline(shown[0].target, color=INK, lw=0.8, ls=(0, (4, 3)), zorder=1)
    if shown[0].now:
        axes.axvline(shown[0].now, color=MUTED, lw=0.8, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda n, _: ""))
    axes.set_ylim(0, 1 if aim == "gain" else min(1.0, 3 * shown[0].target))
    axes.set_xlabel("Patients")
    axes.set_ylabel(AXIS_TITLES[aim])
    axes.legend(loc="lower right" if aim == "gain" else "upper right")
    caption = "Dashed: the target. Dots: patients needed." + (" Upright: patients now." if shown[0].now else "")
    return mark_plate(f"plan_{aim}", TITLES[aim], caption, figure, simulated)
