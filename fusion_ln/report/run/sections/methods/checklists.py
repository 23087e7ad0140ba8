"""Reporting checklists TRIPOD+AI, CLAIM 2024 and METRICS: a run answers what it can, its author fills in the rest."""

import pandas as pd

from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.checklists.answers import answers
from fusion_ln.report.run.checklists.items import BOTH, CLAIM_2024, TRIPOD_AI, Item
from fusion_ln.report.run.checklists.quality import quality
from fusion_ln.report.run.section import Report, Section
from fusion_ln.report.run.text import AUTHOR

HEADINGS = {
    "asks_for": "Asks for",
    "applies_to": "Asked of",
    "answer": "The runs’ answer",
    "author_adds": "The author adds",
    "holds": "Holds",
}


def build(report: Report) -> Section:
    """Build the section."""
    found = answers(report)
    score = quality(report)
    return Section(
        place=160,
        anchor="checklists",
        link="Checklists",
        title="Reporting checklists",
        subtitle="TRIPOD+AI, CLAIM 2024, METRICS: what the runs can answer, answered",
        template="methods/checklists.html",
        sheets=[
            Sheet("tripod_ai", "TRIPOD+AI", checklist(TRIPOD_AI, found), HEADINGS),
            Sheet("claim_2024", "CLAIM, 2024", checklist(CLAIM_2024, found), HEADINGS),
            Sheet("metrics_score", "METRICS 1.0", score.table, HEADINGS),
        ],
        values={"score": score.summary},
    )


def checklist(items: tuple[Item, ...], found: dict[str, str]) -> pd.DataFrame:
    """Make ``item, asks_for, applies_to, answer, author_adds``; `AUTHOR` where the runs have no answer.

    ``applies_to`` is left out of a checklist that asks everything of every study.
    """
    rows = [
        (item.number, item.asks_for, item.applies_to, found.get(item.answer) or AUTHOR, item.to_add) for item in items
    ]
    table = pd.DataFrame(rows, columns=["item", "asks_for", "applies_to", "answer", "author_adds"])
    return table if any(item.applies_to != BOTH for item in items) else table.drop(columns="applies_to")
