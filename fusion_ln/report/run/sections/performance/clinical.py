"""Beyond the columns: what the pictures add to what is known of a patient without them."""

from typing import NamedTuple

import pandas as pd

from fusion_ln.clinical.columns import is_finding
from fusion_ln.evaluation.compare import compare
from fusion_ln.evaluation.delong import MACRO
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.evaluation.swaps import name_test
from fusion_ln.records.kinds import ClinicalRecord, TableRecord
from fusion_ln.report.kit.figures import Plate, draw_interval, empty_rows, show_zero, write_note
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import number, signed, signed_spread
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section, attempt
from fusion_ln.report.run.text import SIGNIFICANCE

HEADINGS = {"model_a": "Model", "model_b": "Compared with", "auc_a": "AUC", "auc_b": "AUC of the other", "p": "p"}
ADDS, INSTEAD, OF_COLUMNS = (
    "pictures added to the columns",
    "pictures instead of the columns",
    "columns added to the pictures",
)
COLUMNS_TEXT = (
    "Logistic regression of the class on columns of the cohort's table (ridge, its penalty chosen inside the training "
    "part of each fold), in the same folds and from the same training patients as the networks. The stack weighs its "
    "logits and those of the pictures by the inner validation patients alone. A missing value counts as the mean of "
    "the training part, so a gap tells nothing. Chance gives everyone the class shares of the training part: that its "
    "AUC is not quite 0.5 comes from these shares, which fall where those of the held-out part rise."
)


class AddedAuc(NamedTuple):
    """AUC of model_a minus that of model_b, on the patients of both, with its 95 % interval and p-value."""

    question: str
    model_a: str
    model_b: str
    patients: int
    auc_a: float
    auc_b: float
    difference: float
    ci_low: float
    ci_high: float
    p: float


def build(report: Report) -> Section | None:
    """Build the section where a model reads columns alone, and another one pictures."""
    results = report.results
    known = next((m for m in results.models if _kind(m) == "logistic"), None)
    if known is None or not (pairs := _pairs(results, known)):
        return None
    reasons: list[str] = []
    gains = [gain for pair in pairs if (gain := attempt(reasons, _gain, results, *pair))]
    return Section(
        place=15,
        anchor="without-pictures",
        link="Without pictures",
        title=f"Beyond {_known_as(results, known, 'what is known without pictures')}",
        subtitle=known.what.lower(),
        template="performance/clinical.html",
        values={"test": name_test(*(gain.patients for gain in gains))} if gains else {},
        text=COLUMNS_TEXT,
        plates=[draw_gains(results, gains)] if gains else [],
        sheets=[
            Sheet("without_pictures", "What the pictures add", pd.DataFrame(gains, columns=AddedAuc._fields), HEADINGS)
        ],
        left_out=reasons,
        is_open=True,
        headline=_answer(results, gains, known),
    )


def _kind(model: Model) -> str:
    """Return ``logistic``, ``chance`` or ``stacked``; empty for a model of pictures."""
    return model.record.settings.model if isinstance(model.record, ClinicalRecord) else ""


def _pairs(results: Results, known: Model) -> list[tuple[str, Model, Model]]:
    """List the questions: each with the model that may gain and the one that it is compared with."""
    stacked = next((m for m in results.models if _kind(m) == "stacked"), None)
    pictures = next((m for m in [*results.fusions, *results.singles] if m.is_fusion or m is results.best_single), None)
    if stacked and isinstance(stacked.record, ClinicalRecord):
        seen = stacked.record.settings.pictures
        own = [m for m in results.models if not isinstance(m.record, TableRecord) and m.record.settings == seen]
        pictures = next(iter(own), pictures)
    pairs = [(ADDS, stacked, known), (INSTEAD, pictures, known), (OF_COLUMNS, stacked, pictures)]
    return [(question, a, b) for question, a, b in pairs if a and b]


def _gain(results: Results, question: str, a: Model, b: Model) -> AddedAuc:
    models = {a.name: a.predictions, b.name: b.predictions}
    found = compare(models, b.name, n_resamples=results.n_resamples, n_permutations=1, common_only=True)
    rows = found.comparison
    row = rows[rows["class"] == MACRO].iloc[0]
    auc_a, auc_b, difference, low, high = (float(row[name]) for name in AddedAuc._fields[4:9])
    return AddedAuc(
        question,
        a.name,
        b.name,
        int(found.models["n"].iloc[0]),
        auc_a,
        auc_b,
        difference,
        low,
        high,
        float(row["p"]),
    )


def _answer(results: Results, gains: list[AddedAuc], known: Model) -> str:
    """Answer in a sentence or two whether the pictures add to the columns, no stronger than the interval."""
    if not gains:
        return ""
    first = gains[0]
    reader = next(m for m in results.models if m.name == first.model_a)
    without = _known_as(results, known, "what is known without them")
    sure = first.p < SIGNIFICANCE  # as for the headline: the test and the interval must agree
    if sure and first.ci_low > 0:
        adds = first.question == ADDS
        verdict = f"The pictures add to {without}" if adds else "The pictures tell more"
    elif sure and first.ci_high < 0:
        verdict = "The pictures make it worse" if first.question == ADDS else "The pictures tell less"
    else:
        more = "add to" if first.question == ADDS else "tell more than"
        verdict = f"That the pictures {more} {without} was not shown"
    return (
        f"{verdict}. {known.what} reached an AUC of {number(first.auc_b)}; {reader.what} {number(first.auc_a)}, on "
        f"{first.patients} patients: {signed(first.difference)} ({signed_spread(first.ci_low, first.ci_high)})."
    )


def _known_as(results: Results, known: Model, unread: str) -> str:
    """Name what the columns hold: ``unread`` without pictures, unless readers took some of them from pictures."""
    read = any(is_finding(column, results.cohort.modalities) for column in known.columns)
    return "columns with reader's findings" if read else unread


def draw_gains(results: Results, gains: list[AddedAuc]) -> Plate:
    """Draw a forest plot of the gains."""
    figure, axes = empty_rows([(gain.question.capitalize(), gain is gains[0]) for gain in gains])
    by_name = {model.name: model for model in results.models}
    for y, gain in enumerate(gains):
        model = by_name[gain.model_a]
        draw_interval(
            axes, y, gain.difference, gain.ci_low, gain.ci_high, colour_of(results, model), fused=model.is_fusion
        )
        write_note(axes, y, f"{signed(gain.difference)} ({signed_spread(gain.ci_low, gain.ci_high)})", bold=y == 0)
    show_zero(axes)
    axes.set_xlabel("Difference in AUC; left of zero nothing is gained")
    caption = f"Same patients for both models of a row; 95 % intervals {GIVEN}. The first row is the question."
    return make_plate("without_pictures", "What the pictures add", caption, figure, results)
