"""Reporting checklists TRIPOD+AI and CLAIM: a run answers what it can, its author fills in the rest.

Items are named in our own words; their wording stands in Collins et al. 2024 (BMJ 385:e078378) and in Mongan, Moy &
Kahn 2020 (Radiol. Artif. Intell. 2:e200029).
"""

import numpy as np
import pandas as pd

from fusion_ln.metrics import PRIMARY
from fusion_ln.records import BaselineRecord, TableRecord
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import number
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section
from fusion_ln.report.run.sections.evidence.conformal import sets_of_models, undecided
from fusion_ln.report.run.sections.evidence.subgroups import by_variable
from fusion_ln.report.run.text import AUTHOR, explanation, limits
from fusion_ln.settings import FitSettings
from fusion_ln.terms import LABEL, SITE, modality_title

# Item, what it asks for, and the name of the answer below; empty where only the author knows.
TRIPOD_AI = (
    ("1", "Title: prediction model, population, outcome", ""),
    ("2", "Abstract", ""),
    ("3a", "Context and rationale", ""),
    ("3b", "Target population, purpose and users", ""),
    ("3c", "Known health inequalities", ""),
    ("4", "Objectives", "question"),
    ("5a", "Sources of data", "source"),
    ("5b", "Dates of data collection", ""),
    ("6a", "Setting, number and place of centres", "sites"),
    ("6b", "Eligibility", ""),
    ("6c", "Treatments", ""),
    ("7", "Preparation of the data", "preparation"),
    ("8a", "Outcome and how it was assessed", "classes"),
    ("8b", "Who assessed the outcome", ""),
    ("8c", "Blinding of the outcome's assessment", ""),
    ("9a", "Choice of predictors", "inputs"),
    ("9b", "Definition and measurement of predictors", ""),
    ("9c", "Who assessed the predictors", ""),
    ("10", "Sample size", "counts"),
    ("11", "Missing data", "missing"),
    ("12a", "Use and partition of the data", "partition"),
    ("12b", "Handling of predictors", "preparation"),
    ("12c", "Type of model, building and internal validation", "model"),
    ("12d", "Heterogeneity between clusters", "between_sites"),
    ("12e", "Measures of performance", "metrics"),
    ("12f", "Model updating", ""),
    ("12g", "How predictions were made", "output"),
    ("13", "Class imbalance", "imbalance"),
    ("14", "Fairness", "subgroups"),
    ("15", "Output of the model", "output"),
    ("16", "Differences between development and evaluation data", "internal"),
    ("17", "Ethical approval", ""),
    ("18a", "Funding", ""),
    ("18b", "Conflicts of interest", ""),
    ("18c", "Protocol", ""),
    ("18d", "Registration", ""),
    ("18e", "Data sharing", "source"),
    ("18f", "Code sharing", "software"),
    ("19", "Patient and public involvement", ""),
    ("20a", "Flow of participants", "flow"),
    ("20b", "Characteristics of participants", "counts"),
    ("20c", "Comparison of development and evaluation data", "internal"),
    ("21", "Participants and outcomes in each analysis", "flow"),
    ("22", "Full specification of the model", "specification"),
    ("23a", "Performance with intervals, also in subgroups", "performance"),
    ("23b", "Heterogeneity of performance between clusters", "between_sites"),
    ("24", "Results of model updating", ""),
    ("25", "Interpretation", ""),
    ("26", "Limitations", "limitations"),
    ("27a", "Poor or missing input at use", "missing"),
    ("27b", "Interaction and expertise of users", ""),
    ("27c", "Next steps for research", ""),
)
CLAIM = (
    ("1", "Title or abstract: use of AI", ""),
    ("2", "Structured abstract", ""),
    ("3", "Background and clinical role", ""),
    ("4", "Objectives and hypotheses", "question"),
    ("5", "Prospective or retrospective", ""),
    ("6", "Goal of the study", "question"),
    ("7", "Sources of data", "source"),
    ("8", "Eligibility", ""),
    ("9", "Preprocessing", "preparation"),
    ("10", "Selection of data subsets", ""),
    ("11", "Definitions of data elements", ""),
    ("12", "De-identification", ""),
    ("13", "Missing data", "missing"),
    ("14", "Reference standard", "classes"),
    ("15", "Rationale of the reference standard", ""),
    ("16", "Annotators", ""),
    ("17", "Annotation tools", ""),
    ("18", "Variability between and within raters", ""),
    ("19", "Sample size", "counts"),
    ("20", "Partition of the data", "partition"),
    ("21", "Level at which partitions are disjoint", "disjoint"),
    ("22", "Model", "model"),
    ("23", "Software", "software"),
    ("24", "Initialisation of parameters", "weights"),
    ("25", "Training", "training"),
    ("26", "Selection of the final model", "selection"),
    ("27", "Ensembling", "ensembling"),
    ("28", "Metrics", "metrics"),
    ("29", "Uncertainty and significance", "uncertainty"),
    ("30", "Robustness", "between_sites"),
    ("31", "Explainability", ""),
    ("32", "Validation on external data", "internal"),
    ("33", "Flow of participants", "flow"),
    ("34", "Characteristics of participants", "counts"),
    ("35", "Performance", "performance"),
    ("36", "Precision of the estimates", "performance"),
    ("37", "Failure analysis", "failures"),
    ("38", "Limitations", "limitations"),
    ("39", "Implications for practice", ""),
    ("40", "Registration", ""),
    ("41", "Protocol", ""),
    ("42", "Funding", ""),
)

HEADINGS = {"asks_for": "Asks for"}


def build(report: Report) -> Section:
    """Build the section."""
    sheets = [
        Sheet("tripod_ai", "TRIPOD+AI", checklist(TRIPOD_AI, report), HEADINGS),
        Sheet("claim", "CLAIM", checklist(CLAIM, report), HEADINGS),
    ]
    return Section(
        place=160,
        anchor="checklists",
        link="Checklists",
        title="Reporting checklists",
        subtitle="TRIPOD+AI and CLAIM: what the runs can answer, answered",
        template="checklists.html",
        sheets=sheets,
    )


def checklist(items: tuple[tuple[str, str, str], ...], report: Report) -> pd.DataFrame:
    """Make ``item, asks_for, answer`` of `TRIPOD_AI` or `CLAIM`; `AUTHOR` where the runs have no answer."""
    answers = _answers(report)
    rows = [(item, topic, answers.get(name) or AUTHOR) for item, topic, name in items]
    return pd.DataFrame(rows, columns=["item", "asks_for", "answer"])


def _answers(report: Report) -> dict[str, str]:
    """Collect the run's answers; empty where it has none."""
    results, cohort = report.results, report.results.cohort
    counts = np.bincount(cohort.patients[LABEL], minlength=len(cohort.classes))
    sites = cohort.patients[SITE].nunique()
    answers = {
        "question": report.question,
        "source": f"{cohort.source}, licence {cohort.licence}, hash {cohort.fingerprint}" if cohort.source else "",
        "sites": f"{sites} sites; see Subgroups" if sites > 1 else "",
        "classes": f"{', '.join(cohort.classes)}, as the cohort labels them; how they were assessed: {AUTHOR}",
        "counts": ", ".join(f"{n} {name}" for n, name in zip(counts, cohort.classes, strict=True)),
        "inputs": ", ".join(modality_title(m) for m in cohort.modalities),
        "output": f"A probability of {', of '.join(cohort.classes)}; the most probable one is the predicted class.",
        "metrics": "AUC one-vs-rest and one-vs-one, accuracy, precision, recall, F1, MCC, Brier score, log loss, "
        "calibration error, net benefit, sensitivity and specificity at a threshold chosen on inner validation.",
        "uncertainty": "95 % patient bootstrap within classes; paired bootstrap, DeLong, McNemar and permutation "
        "tests; Holm and Benjamini-Hochberg corrections over a named family.",
        "limitations": " ".join(limits(results)),
        "performance": explanation(results),
        "subgroups": _subgroups(report),
        "between_sites": _between_sites(report),
        "failures": _failures(report),
    }
    return answers if results.main.is_table else answers | _of_runs(results)


def _of_runs(results: Results) -> dict[str, str]:
    """Collect the answers that only run folders have."""
    cohort, main = results.cohort, results.main
    assert not isinstance(main.record, TableRecord)
    fits = [m.record.settings.fit for m in results.models if isinstance(m.record, BaselineRecord)]
    predicted = ", ".join(f"{m.title} {len(m.predictions.table)}" for m in results.models)
    nested = main.protocol == "nested"
    inside = "inside each training part an inner validation set" if nested else "early stopping on the held-out fold"
    return {
        "partition": f"{main.record.cohort.n_folds} outer folds by patient; {inside}.",
        "disjoint": "Patient.",
        "missing": f"A model predicts whoever has a picture that it reads: {predicted} of {len(cohort.patients)}.",
        "flow": f"{len(cohort.patients)} patients. Predicted: {predicted}.",
        "model": f"{', '.join(m.title for m in results.models)}; {_settings(fits, 'backbone')}. Cross-validated.",
        "preparation": _settings(fits, "image_size"),
        "training": _settings(fits, "epochs", "batch_size", "lr", "schedule", "patience"),
        "weights": _settings(fits, "weights", "backbone"),
        "specification": "Settings and, where something was trained, weights of every fold lie in the run folders.",
        "software": ", ".join(f"{name} {of}" for name, of in main.record.versions.items()),
        "imbalance": "Random over-sampling of the training part; held-out patients as they come.",
        "selection": f"Lowest validation loss{' on inner validation' if nested else ' on the held-out fold'}.",
        "ensembling": f"{main.title} of {len(main.modalities)} models." if main.is_fusion else "None.",
        "internal": "Internal cross-validation only: no external data.",
    }


def _settings(fits: list[FitSettings], *keys: str) -> str:
    """List the values of settings over all fits, as a person reads them."""
    found = {key: dict.fromkeys(str(getattr(fit, key)) for fit in fits) for key in keys}
    return ", ".join(f"{key.replace('_', ' ')} {' or '.join(values)}" for key, values in found.items() if values)


def _subgroups(report: Report) -> str:
    variables = list(report.once(by_variable))
    return f"Metrics by {', '.join(variables)}: see Subgroups." if variables else ""


def _failures(report: Report) -> str:
    sets, _ = report.once(sets_of_models)
    count = len(undecided(sets, report.results))
    return f"{count} patients undecided, listed under Conformal sets." if count else ""


def _between_sites(report: Report) -> str:
    """Describe the spread of the main model's AUC between sites."""
    groups = report.once(by_variable).get("site", {}).get(report.results.main.name)
    if groups is None or groups.spread.empty:
        return ""
    [row] = groups.spread[groups.spread["metric"] == PRIMARY].to_dict("records")
    ends = [f"{number(row[end])} ({row[f'{end}_level']})" for end in ("lowest", "highest")]
    return f"AUC between sites from {' to '.join(ends)}."
