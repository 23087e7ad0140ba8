"""Readers beside the model: their points on the ROC, paired differences, the stand-alone test and agreement."""

import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from fusion_ln.decode.readers import Reader, find_readers
from fusion_ln.evaluation.readers.agreement import FEWEST_OF_ALL, FEWEST_OF_TWO, agreement
from fusion_ln.evaluation.readers.cases import FEWEST_READ, cases_of, read_by_all
from fusion_ln.evaluation.readers.points import reader_points
from fusion_ln.evaluation.readers.standalone import FEWEST_READERS, NEEDS_MISPLACED, NEEDS_WRONG, stand_alone
from fusion_ln.report.kit.figures import NARROW, Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK, LINE, MUTED
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section
from fusion_ln.terms import PATIENT, SIMULATED

MEASURE_TITLES = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity", "accuracy": "Accuracy"}
READER_WORDS = {"measure": MEASURE_TITLES}


def build(report: Report) -> Section | None:
    """Build the section where the cohort has columns of readers."""
    results = report.results
    readers = find_readers(results.cohort.patients, results.cohort.classes, f"cohort {results.cohort.name}")
    if not readers:
        return None
    predictions = results.main.predictions
    points, alone = reader_points(predictions, readers), stand_alone(predictions, readers)
    number = "1 reader" if len(readers) == 1 else f"{len(readers)} readers"
    reason = f"the model against the mean of the readers: {_need(readers)}"
    counts = {"n": "Patients", "value": "Reader", "model": "Model", "difference": "Model − reader"}
    mean = {
        "readers_mean": "Mean of the readers",
        "difference": "Model − mean",
        "t": "t",
        "df": "df",
        "hillis_df": "df, Hillis",
    }
    mean |= {"hillis_p": "p, Hillis"}
    return Section(
        place=75,
        anchor="readers",
        link="Readers",
        title="Readers beside the model",
        subtitle=f"{number}, {SIMULATED}" if results.cohort.simulated else number,
        template="evidence/readers.html",
        plates=[plate for name in results.cohort.classes if (plate := _draw(results, readers, name))],
        sheets=[
            Sheet("readers_alone", "The model against the mean of the readers", alone, mean, READER_WORDS),
            Sheet("readers", "Each reader, and the model on the same patients", points, counts, READER_WORDS),
            Sheet("readers_read", "Patients whom each reader read", _read(results, readers)),
            Sheet(
                "readers_agreement",
                "Agreement beyond chance",
                agreement(predictions, readers),
                {"a": "Of", "b": "With", "kappa": "Kappa"},
            ),
        ],
        left_out=[reason] if alone.empty else [],
        values={
            "model": results.main.title,
            "fewest": FEWEST_READ,
            "fewest_of_two": FEWEST_OF_TWO,
            "fewest_of_all": FEWEST_OF_ALL,
            "needs_wrong": NEEDS_WRONG,
            "needs_misplaced": NEEDS_MISPLACED,
        },
    )


def _need(readers: tuple[Reader, ...]) -> str:
    if len(readers) < FEWEST_READERS:
        return f"it needs {FEWEST_READERS} readers, there are {len(readers)}"
    return f"fewer than {FEWEST_READ} patients of each class, and others, were read by {FEWEST_READERS} readers or more"


def _read(results: Results, readers: tuple[Reader, ...]) -> pd.DataFrame:
    """Count ``reader, patients, with_prediction, not_read``: of the cohort's patients, who entered the comparison."""
    everyone = set(results.cohort.patients[PATIENT])
    predicted = set(results.main.predictions.patients)
    rows = []
    for reader in readers:
        read = set(reader.calls.index).union(*(set(held.index) for held in reader.suspicion.values()))
        rows.append([reader.name, len(read), len(read & predicted), len(everyone - read)])
    return pd.DataFrame(rows, columns=["reader", "patients", "with_prediction", "not_read"])


def _draw(results: Results, readers: tuple[Reader, ...], of_class: str) -> Plate | None:
    """Draw the model's ROC curve of a class against the rest and each reader's point, all on the same patients."""
    calling = [reader for reader in readers if len(reader.calls)]
    if not calling:
        return None
    sensitivity, specificity = (
        cases_of(results.main.predictions, calling, measure, of_class) for measure in ("sensitivity", "specificity")
    )
    if not (sensitivity.patients and specificity.patients):
        return None
    shown = results.main.predictions.of(read_by_all(results.main.predictions, calling))
    label = shown.classes.index(of_class)
    x, y, _ = roc_curve(shown.labels == label, shown.probs[:, label])
    points = [(reader.name, 1 - b, a) for reader, a, b in zip(
        calling, sensitivity.figures[1:], specificity.figures[1:], strict=True)]  # fmt: skip
    figure = Figure(figsize=(NARROW, NARROW + 0.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    axes.plot(x, y, color=colour_of(results, results.main), lw=1.9, label=results.main.what, zorder=2)
    x, y = [false for _, false, _ in points], [true for _, _, true in points]
    axes.scatter(x, y, marker="^", s=30, color=INK, label="Readers", zorder=3)
    for name, false, true in points:
        axes.annotate(name, (false, true), xytext=(5, -3), textcoords="offset points", fontsize=7, color=MUTED)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("Sensitivity")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="lower right")
    by = calling[0].name if len(calling) == 1 else f"all {len(calling)} readers"
    caption = f"On the {len(shown.labels)} patients read by {by}, {sensitivity.patients} of them {of_class}."
    return make_plate(f"readers_{of_class}", f"{of_class} against the rest", caption, figure, results)
