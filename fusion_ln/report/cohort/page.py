"""Statistics of a cohort: Table 1 as CSV, HTML and LaTeX, with its figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.sources.table import class_of, known_classes
from fusion_ln.cohort.statistics import TableOne, is_category, table_one, worst_nodes
from fusion_ln.decode.columns import describe_columns, read_columns
from fusion_ln.decode.nodes import remark_on_spellings
from fusion_ln.decode.readers import call_columns
from fusion_ln.decode.table import label_key, read_table, refuse_spellings
from fusion_ln.errors import CohortError, SourceError
from fusion_ln.files.folders import refuse_taken
from fusion_ln.files.formats import write_text
from fusion_ln.progress import say
from fusion_ln.report.cohort.figures import draw_boxes, draw_correlation, draw_shares
from fusion_ln.report.kit import style
from fusion_ln.report.kit.escape import latex
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet, csv_of, heading_of
from fusion_ln.terms import KNOWN_MODALITIES, LABEL, PATIENT, SIMULATED, SITE, TABLE_ONE

SIZE_COLUMNS = ("long_axis_mm", "short_axis_mm")
RATIO = "axis_ratio"  # long over short
WRITTEN = ("table1.csv", "standardised_differences.csv", "table1.tex", TABLE_ONE)
EXPECTED_INPUT = (
    "Give a cohort folder, or a CSV or Excel file with one row per patient and a column that holds the class."
)


@dataclass(frozen=True)
class Patients:
    """The patients of a cohort or of a table.

    Attributes:
        name: Name of the cohort or file.
        table: One row per patient.
        label: Column of the class.
        classes: Names of the labels 0..C-1; empty where the labels are names.
        simulated: Every page and table says so.
        prepared: What was done to the pictures of a cohort, in sentences; empty: they are taken whole.
        nodes: Count of the nodes, of which the table has the worst of each patient; empty: there are none.
    """

    name: str
    table: pd.DataFrame
    label: str = LABEL
    classes: tuple[str, ...] = ()
    simulated: bool = False
    prepared: str = ""
    nodes: str = ""

    def by_class(self, variable: str) -> dict[str, pd.Series]:
        """Split a variable's values by class, in label order."""
        labels = self.table[self.label]
        return {
            self.classes[value] if self.classes else str(value): self.table.loc[labels == value, variable]
            for value in sorted(labels.unique())
        }


def read_patients(place: Path, label: str | None, classes: tuple[str, ...] = ()) -> Patients:
    """Read the patients of a cohort folder, or of a CSV or Excel file with one row per patient.

    Args:
        place: Folder or file.
        label: Column of the class.
        classes: Classes of a file in the order of their numbers, see `sources.table.Table`.

    Raises:
        CohortError: If ``label`` is missing for a file without a column of that name, or ``classes`` are given for a
            cohort.
        SourceError: If the file is no such table, or names a class in two spellings; see `read_table`.
    """
    if place.is_dir() and classes:
        raise CohortError(f"{place}: a cohort, whose classes have names.", "Leave `--classes` out; it is for tables.")
    if place.is_dir():
        cohort = load_cohort(place)
        classes = cohort.classes if label in (None, LABEL) else ()
        patients = cohort.patients.assign(**{SITE: cohort.patients[SITE].replace("", None)})  # none was given
        if cohort.of_nodes:
            patients = worst_nodes(patients, cohort.classes)
        prepared = cohort.preparation.counts() if cohort.preparation else ""
        nodes = cohort.count_units() if cohort.of_nodes else ""
        return Patients(cohort.name, _with_ratio(patients), label or LABEL, classes, cohort.simulated, prepared, nodes)
    held = read_table(place, EXPECTED_INPUT).with_names((PATIENT, SITE, *KNOWN_MODALITIES, label or LABEL))
    if label is None and LABEL not in held.columns:
        raise CohortError(
            f"{place}: which column holds the class? It has {', '.join(held.columns)}.",
            "Name it with `--label COLUMN`.",
        )
    label = label or LABEL
    names = (PATIENT, label, SITE, *call_columns(held.columns))
    table, columns = read_columns(held.cells, place.parent, texts=names, separator=held.separator)
    alike = remark_on_spellings(table[PATIENT].dropna()) if PATIENT in table else []
    odd = [column.warning for column in columns if column.warning]
    for line in (*held.remarks, describe_columns(columns), *odd, *alike, *held.remark_on_blanks(PATIENT)):
        say(line)
    if PATIENT in table and (repeated := table[PATIENT].duplicated()).any():
        raise CohortError(
            f"{place}: patient {table.loc[repeated, PATIENT].iloc[0]!r} twice; Table 1 takes one row per patient.",
            "Of one row per picture make a cohort first (`fusionln cohort import table FILE --out DIR`), then give "
            "`fusionln cohort stats DIR`.",
        )
    if label in table and classes:
        table[label] = _numbers_of(place, table[label], classes)
    elif label in table:
        way_out = "Spell them alike, or name the classes (`--classes A,B`): their labels may then have any case."
        refuse_spellings(place, label, table[label].dropna(), way_out, label_key)
    return Patients(place.stem, _with_ratio(table), label, classes if label in table else ())


def _numbers_of(place: Path, labels: pd.Series, classes: Sequence[str]) -> pd.Series:
    """Find the number of each label's class, as `cohort import table` does."""
    found = labels.map(lambda text: class_of(str(text), classes), na_action="ignore")
    if (unknown := found.isna() & labels.notna()).any():
        line, text = next(labels[unknown].items())
        raise SourceError(f"{place}, line {line}: unknown label {text!r}.", known_classes(classes))
    return found.map({name: number for number, name in enumerate(classes)})


def write_statistics(out: Path, patients: Patients) -> list[Path]:
    """Write ``table1.csv``, ``.tex``, ``.html``, ``standardised_differences.csv`` and ``figures/*.png`` into ``out``.

    Raises:
        RunError: If ``out`` holds anything but such a description.
        CohortError: If the label's column is missing, has gaps, or holds fewer than two classes.
    """
    refuse_taken(out, TABLE_ONE)
    found = table_one(patients.table, label=patients.label, classes=patients.classes)
    for variable, reason in found.left_out.items():
        say(f"Left out of Table 1: {variable} ({reason}).")
    with style.figure_style():
        plates = _draw(patients, found)
    paths = {name: out / name for name in WRITTEN}
    for name, table in (("table1.csv", found.table), ("standardised_differences.csv", found.differences)):
        write_text(paths[name], csv_of(table, patients.simulated))
    write_text(paths["table1.tex"], _latex(patients, found))
    write_page(
        paths[TABLE_ONE],
        "cohort.html",
        [plate for group in plates.values() for plate in group],
        [],
        simulated=patients.simulated,
        patients=patients,
        table_one=Sheet("table1", "Table 1", _tidy(found)),
        differences=Sheet(
            "standardised_differences",
            "Standardised differences",
            found.differences,
            {"class_a": "Class", "class_b": "Compared with"},
            {"variable": {name: heading_of(name) for name in found.differences["variable"]}},
        ),
        left_out=found.left_out,
        plates=plates,
    )
    return list(paths.values())


def _with_ratio(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ratio of the axes, where the table has both and lacks it."""
    if RATIO in table or not all(name in table and pd.api.types.is_numeric_dtype(table[name]) for name in SIZE_COLUMNS):
        return table
    return table.assign(**{RATIO: table[SIZE_COLUMNS[0]] / table[SIZE_COLUMNS[1]].where(table[SIZE_COLUMNS[1]] > 0)})


def _draw(patients: Patients, found: TableOne) -> dict[str, list[Plate]]:
    variables = [v for v in dict.fromkeys(found.table["variable"]) if v in patients.table]
    categories = [v for v in variables if is_category(patients.table[v])]
    numbers = [v for v in variables if v not in categories]
    ranked = [v for v in variables if pd.api.types.is_numeric_dtype(patients.table[v])]
    marked = {"simulated": patients.simulated}
    return {
        "shares": [draw_shares(v, patients.by_class(v), **marked) for v in categories],
        "boxes": [draw_boxes(v, patients.by_class(v), **marked) for v in numbers],
        "correlation": [draw_correlation(patients.table[ranked], **marked)] if len(ranked) > 1 else [],
    }


def _latex(patients: Patients, found: TableOne) -> str:
    """Write a booktabs table; with a comment, and a note below it, where the patients are simulated."""
    shown = _tidy(found).map(lambda value: latex(style.cell(value))).rename(columns=latex)
    text: str = shown.to_latex(index=False)
    return f"{text}% {SIMULATED} patients\n\\par {SIMULATED.capitalize()} patients.\n" if patients.simulated else text


def _tidy(found: TableOne) -> pd.DataFrame:
    """Tidy Table 1 for people: the variable's heading in its first row only, nothing where there is no test."""
    names = found.table["variable"].map(heading_of).mask(found.table["variable"].duplicated(), "")
    return found.table.assign(variable=names).astype(object).where(found.table.notna(), "")
