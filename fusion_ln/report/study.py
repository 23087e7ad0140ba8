"""Page of an experiment's studies: trials, scores on inner validation, and the importance of each setting."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import optuna.visualization.matplotlib as plots
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import Plate, mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.tuning.results import (
    FOLD_SCORES,
    KNOWN,
    StudyRecord,
    best_trial,
    finished,
    read_study_record,
    values_of,
)

CAPTIONS = {
    "pruning": "Score on inner validation after every epoch, from the second fold on the mean so far; folds one "
    "after another. A line that ends early was pruned, since it was below the median.",
    "slice": "Each dot is a trial; the darker, the later.",
}
WIDE_PLOT, NARROW_PLOT = (8.4, 3.2), (4.1, 3.2)  # inches


@dataclass(frozen=True)
class Plot:
    """One of Optuna's plots: its title, the function that draws it, and its size in inches."""

    title: str
    draw: Callable[[], object]  # returns an Axes or an array of them
    size: tuple[float, float]


@dataclass(frozen=True)
class StudyView:
    """A study as the page shows it.

    Attributes:
        record: The settings that it tunes, and its cohort.
        best: The trial that `study apply` takes.
        untuned: The trial with the settings as they were; None if it was not finished.
        plates: By kind, as far as there is something to show.
    """

    study: optuna.Study
    record: StudyRecord
    best: FrozenTrial
    untuned: FrozenTrial | None
    plates: dict[str, Plate]

    @property
    def name(self) -> str:
        return self.study.study_name.partition("/")[2]


def summarise(studies: list[optuna.Study]) -> pd.DataFrame:
    """Make one row per study: trials by state, the untuned and the best first objective, the best settings.

    Raises:
        StudyError: If a study has no complete trial.
    """
    rows = []
    for study in studies:
        trials, best, untuned = study.get_trials(deepcopy=False), best_trial(study), untuned_trial(study)
        states = [trial.state for trial in trials]
        rows.append(
            {
                "study": study.study_name.partition("/")[2],
                "finished": len(finished(trials)),
                "pruned": states.count(TrialState.PRUNED),
                "failed": states.count(TrialState.FAIL),
                "running": states.count(TrialState.RUNNING) + states.count(TrialState.WAITING),
                "objective": read_study_record(study).objectives[0],
                "untuned": round(values_of(untuned)[0], 4) if untuned else np.nan,
                "best": round(values_of(best)[0], 4),
                "trial": best.number,
                "settings": ", ".join(f"{k} {_value(v)}" for k, v in best.params.items()),
            }
        )
    return pd.DataFrame(rows)


def untuned_trial(study: optuna.Study) -> FrozenTrial | None:
    """Find the first of the given trials, if it is complete."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return next((trial for trial in complete if trial.user_attrs.get(KNOWN)), None)


def write_study_page(out: Path, title: str, by_run: dict[str, list[optuna.Study]]) -> Path:
    """Write ``study.html``, with its figures and tables beside it, into ``out``; returns its path.

    Raises:
        StudyError: If a study has no complete trial.
        RunError: If the folder cannot be written to.
    """
    studies = [study for of_run in by_run.values() for study in of_run]
    table = summarise(studies)
    views = {run: [_view(study) for study in of_run] for run, of_run in by_run.items()}
    every = [view for of_run in views.values() for view in of_run]
    cohort = every[0].record.cohort
    trials = pd.concat([_trials(view) for view in every], ignore_index=True)
    return write_page(
        out / "study.html",
        "study.html",
        [each for view in every for each in view.plates.values()],
        [Sheet("studies", "Studies", table), Sheet("trials", "Trials", trials)],
        simulated=cohort.simulated,
        nodes=cohort.count_nodes(),
        title=title,
        views=views,
        table=table,
        cohort=cohort,
        n_trials=int(table["finished"].sum()),
        pooled=[run for run, of_run in views.items() if len(of_run[0].record.folds) > 1],
        value=_value,
    )


def _view(study: optuna.Study) -> StudyView:
    record, name = read_study_record(study), study.study_name.partition("/")[2]
    drawn = {
        kind: mark_plate(
            f"{name}_{kind}",
            f"{plot.title}: {name}",
            CAPTIONS.get(kind, ""),
            _draw(plot),
            simulated=record.cohort.simulated,
        )
        for kind, plot in _plots(study, record.objectives).items()
    }
    return StudyView(study, record, best_trial(study), untuned_trial(study), drawn)


def _plots(study: optuna.Study, objectives: tuple[str, ...]) -> dict[str, Plot]:
    """List Optuna's plots that have something to show, of the first objective where there are several."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    name, several = objectives[0], len(objectives) > 1
    sign = 1 if study.directions[0] == StudyDirection.MINIMIZE else -1  # importances are of a low target
    first = (lambda trial: values_of(trial)[0]) if several else None
    signed = (lambda trial: sign * values_of(trial)[0]) if several else None
    found: dict[str, Plot] = {}
    if 1 < len(objectives) <= 3:
        found["front"] = Plot("Pareto front", lambda: plots.plot_pareto_front(study), NARROW_PLOT)
    found["history"] = Plot(
        "History", lambda: plots.plot_optimization_history(study, target=first, target_name=name), WIDE_PLOT
    )
    if len(complete) > 1 and len({values_of(trial)[0] for trial in complete}) > 1:
        found["importances"] = Plot(
            "Importances", lambda: plots.plot_param_importances(study, target=signed, target_name=name), NARROW_PLOT
        )
        found["parallel"] = Plot(
            "Parallel coordinates",
            lambda: plots.plot_parallel_coordinate(study, target=first, target_name=name),
            WIDE_PLOT,
        )
    found["slice"] = Plot("Slices", lambda: plots.plot_slice(study, target=first, target_name=name), WIDE_PLOT)
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        found["pruning"] = Plot("Pruning", lambda: plots.plot_intermediate_values(study), WIDE_PLOT)
    return found


def _draw(plot: Plot) -> Figure:
    """Draw one of Optuna's plots in the page's colours, without a change to Matplotlib's style for good."""
    settings = {**style.FIGURE_STYLE, "figure.constrained_layout.use": True}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental functions, and of ranges that hold one value
        plt.switch_backend("agg")
        figure: Figure = np.asarray(plot.draw(), dtype=object).ravel()[0].figure
        figure.set_size_inches(plot.size)
        figure.set_layout_engine("constrained")
        _restyle(figure)
        plt.close(figure)
    return figure


def _restyle(figure: Figure) -> None:
    """Apply the page's colours and type; drop titles, which stand above, and the list of forty trials."""
    figure.patch.set_visible(False)
    figure.suptitle("")
    for axes in figure.axes:
        for where in ("left", "center", "right"):
            axes.set_title("", loc=where)
        axes.set_facecolor("none")
        axes.tick_params(which="both", labelcolor=style.MUTED, labelsize=8, length=3, color=style.LINE)
        for spine in axes.spines.values():
            spine.set_color(style.LINE)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(style.MUTED)
            label.set_fontsize(8)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
        if legend := axes.get_legend():
            legend.set_visible(len(legend.get_texts()) <= 3)
            legend.set_frame_on(False)


def _trials(view: StudyView) -> pd.DataFrame:
    """Make one row per trial: settings, objectives, state, seconds, and the seconds of its epochs."""
    rows = []
    for trial in view.study.get_trials(deepcopy=False):
        values = dict(zip(view.record.objectives, values_of(trial), strict=False))
        seconds = trial.duration.total_seconds() if trial.duration else np.nan
        own = {"study": view.name, "trial": trial.number, "state": trial.state.name.lower(), "seconds": seconds}
        of_folds = trial.user_attrs.get(FOLD_SCORES, [])
        own["fit_seconds"] = sum(each["seconds"] for each in of_folds) if of_folds else np.nan
        rows.append({**own, **values, **trial.params})
    return pd.DataFrame(rows)


def _value(value: object) -> str:
    """Write a setting as a person reads it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
