"""Answers of the runs to the items of the checklists."""

import numpy as np

from fusion_ln.metrics import PRIMARY
from fusion_ln.records.kinds import BaselineRecord, TableRecord
from fusion_ln.report.kit.style import number, spread
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence.subgroups import by_variable
from fusion_ln.report.run.text import limits, recognised, verdict_figures
from fusion_ln.resamples import LEAST_PROB
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import LABEL, PATIENT, SITE, modality_title


def answers(report: Report) -> dict[str, str]:
    """Collect the runs' answers by name; empty or absent where they have none."""
    results, cohort = report.results, report.results.cohort
    counts = np.bincount(cohort.patients[LABEL], minlength=len(cohort.classes))
    sites = cohort.patients[SITE].nunique()
    simulated = "Simulated patients and pictures; " if cohort.simulated else ""
    found = {
        "question": report.question,
        "source": f"{simulated}{cohort.source}, licence {cohort.licence}, hash {cohort.fingerprint[:12]}"
        if cohort.source
        else "",
        "sites": f"{sites} sites; see Subgroups." if sites > 1 else "",
        "classes": f"{', '.join(cohort.classes)}, as the cohort labels them.",
        "test_labels": "Held-out patients are labelled by the same column as all others.",
        "counts": ", ".join(f"{n} {name}" for n, name in zip(counts, cohort.classes, strict=True)),
        "by_fold": _by_fold(results),
        "selected": _selected(results),
        "inputs": ", ".join(modality_title(m) for m in cohort.modalities),
        "output": f"A probability of {', of '.join(cohort.classes)}; the most probable one is the predicted class.",
        "metrics": "AUC one-vs-rest and one-vs-one, accuracy, precision, recall, F1, MCC, Brier score, log loss "
        f"(probabilities below {LEAST_PROB:g} count as {LEAST_PROB:g}), calibration error, net benefit, sensitivity "
        "and specificity at a threshold chosen on inner validation.",
        "uncertainty": "95 % intervals over patients, given these trainings; paired differences; tests of AUCs by "
        "permutation (of large samples DeLong’s), of accuracy by McNemar; corrections for their number over named "
        "families.",
        "limitations": " ".join(limits(results)),
        "performance": verdict_figures(results),
        "diagnostic": _diagnostic(results),
        "subgroups": _subgroups(report),
        "between_sites": between_sites(report),
        "robustness": _robustness(report),
        "explanation": "Attribution maps, their tests and Shapley values stand on the page of the explanation."
        if any(model.explanation for model in results.models)
        else "",
        "failures": _failures(results),
    }
    return found if results.main.is_table else found | _of_runs(results)


def sites_as_folds(results: Results) -> bool:
    """Tell whether every held-out fold is a site of its own."""
    site = results.cohort.patients.set_index(PATIENT)[SITE]
    of_main = results.main.predictions
    by_fold = site.loc[of_main.patients].groupby(of_main.folds).nunique()
    return site.nunique() > 1 and bool((by_fold == 1).all())


def _of_runs(results: Results) -> dict[str, str]:
    """Collect the answers that only run folders have."""
    cohort, main = results.cohort, results.main
    assert not isinstance(main.record, TableRecord)
    fits = [m.record.settings.fit for m in results.models if isinstance(m.record, BaselineRecord)]
    predicted = ", ".join(f"{m.title} {len(m.predictions.table)}" for m in results.models)
    nested = main.protocol == "nested"
    inside = "inside each training part an inner validation set" if nested else "early stopping on the held-out fold"
    by_site = sites_as_folds(results)
    prepared = held.counts() if (held := main.record.cohort.preparation) else ""
    return {
        "partition": f"{main.record.cohort.n_folds} outer folds by {'site' if by_site else 'patient'}; {inside}.",
        "disjoint": "Site and patient." if by_site else "Patient.",
        "missing": f"A model predicts whoever has a picture that it reads: {predicted} of {len(cohort.patients)}.",
        "flow": f"{len(cohort.patients)} patients. Predicted: {predicted}.",
        "model": f"{', '.join(m.title for m in results.models)}; {_settings(fits, 'backbone')}. Cross-validated.",
        "preparation": f"{_settings(fits, 'image_size')}. {prepared}".removesuffix(". "),
        "deidentification": prepared,
        "training": _settings(fits, "epochs", "batch_size", "lr", "schedule", "patience"),
        "weights": _settings(fits, "weights", "backbone"),
        "specification": "Settings and, where something was trained, weights of every fold lie in the run folders.",
        "software": ", ".join(f"{name} {of}" for name, of in main.record.versions.items()),
        "imbalance": "Random over-sampling of the training part; held-out patients as they come.",
        "selection": f"Lowest validation loss{' on inner validation' if nested else ' on the held-out fold'}.",
        "ensembling": f"{main.title} of {len(main.modalities)} models." if main.is_fusion else "None.",
        "internal": f"Internal testing on the held-out folds of {'nested ' if nested else ''}cross-validation.",
        "external": "No external testing. Each fold is a site that its models never saw." if by_site else "None.",
    }


def _settings(fits: list[FitSettings], *keys: str) -> str:
    """List the values of settings over all fits, as a person reads them."""
    found = {key: dict.fromkeys(str(getattr(fit, key)) for fit in fits) for key in keys}
    return ", ".join(f"{key.replace('_', ' ')} {' or '.join(values)}" for key, values in found.items() if values)


def _by_fold(results: Results) -> str:
    """Count the patients of each class in each held-out fold."""
    of_main = results.main.predictions
    rows = []
    for fold in np.unique(of_main.folds):
        counts = np.bincount(of_main.labels[of_main.folds == fold], minlength=len(of_main.classes))
        rows.append(f"{fold}: {' / '.join(map(str, counts))}")
    return f"Held-out folds ({' / '.join(of_main.classes)}): {', '.join(rows)}."


def _selected(results: Results) -> str:
    """Count what the import left out."""
    details = results.cohort.details
    parts = [f"pictures {pattern} were not imported" for pattern in details.left_out]
    if details.skipped:
        parts.append(f"{len(details.skipped)} pictures could not be read or had no label")
    return f"{'; '.join(parts)}.".capitalize() if parts else ""


def _diagnostic(results: Results) -> str:
    """State the recall of every class with its interval."""
    rows = []
    for name in results.cohort.classes:
        hits, of = recognised(results, results.main, name)
        row = results.interval(results.main, "recall", name)
        rows.append(f"{name} {hits} of {of} ({number(row.value, 2)}, {spread(row.ci_low, row.ci_high)})")
    return f"Recall of {results.main.title}, 95 % interval: {', '.join(rows)}."


def _failures(results: Results) -> str:
    predictions = results.main.predictions
    missed = int((predictions.probs.argmax(axis=1) != predictions.labels).sum())
    return f"{results.main.title} classes {missed} of {len(predictions.labels)} patients wrongly; see Confusion."


def _subgroups(report: Report) -> str:
    variables = list(report.once(by_variable))
    return f"Metrics by {', '.join(variables)}: see Subgroups." if variables else ""


def between_sites(report: Report) -> str:
    """Describe the spread of the main model's AUC between sites."""
    groups = report.once(by_variable).get("site", {}).get(report.results.main.name)
    if groups is None or groups.spread.empty:
        return ""
    [row] = groups.spread[groups.spread["metric"] == PRIMARY].to_dict("records")
    ends = [f"{number(row[end])} ({row[f'{end}_level']})" for end in ("lowest", "highest")]
    return f"AUC between sites from {' to '.join(ends)}."


def _robustness(report: Report) -> str:
    audited = "The shortcut audit tests pictures with altered frames, texts and colours."
    parts = [between_sites(report), audited if any(model.audit for model in report.results.models) else ""]
    return " ".join(filter(None, parts))
