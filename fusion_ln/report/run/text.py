"""Sentences of the report's first page: the figures in plain words."""

import numpy as np

from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.sheets import Fact
from fusion_ln.report.kit.style import number, signed, signed_spread, spread
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Difference, Results
from fusion_ln.terms import LABEL, listed

SIGNIFICANCE = 0.05
AUTHOR = "to be filled in by the author"  # stands where no run has the answer


def verdict(results: Results) -> str:
    """State the answer in one sentence, no stronger than its interval."""
    reference, candidate = results.reference, results.candidate
    where = "In simulated patients, " if results.cohort.simulated else ""
    if candidate is None or reference is None:
        auc = number(results.interval(results.main, PRIMARY).value)
        return _sentence(f"{where}{_named(results.main)} told the diagnoses apart with an AUC of {auc}.")
    fused = candidate.is_fusion and reference.is_single
    subject = "fusing the pictures" if fused else _named(candidate)
    against = f"{_named(reference)} alone" if fused else _named(reference)
    if direction := shown_difference(results):
        return _sentence(f"{where}{subject} told the diagnoses apart {direction} than {against}.")
    return _sentence(f"{where}no difference was shown between {subject} and {against}.")


def shown_difference(results: Results) -> str:
    """Say "better" or "worse" where both the test of the primary endpoint and its interval show it; else nothing."""
    test = results.primary_test
    if test is None or results.candidate is None or test.p >= SIGNIFICANCE:
        return ""
    row = results.difference(results.candidate, PRIMARY)
    return "better" if row.ci_low > 0 else "worse" if row.ci_high < 0 else ""


def verdict_figures(results: Results) -> str:
    """State the figures behind the verdict, and how sure they are."""
    reference, candidate = results.reference, results.candidate
    if candidate is None or reference is None:
        nothing = "Nothing was fused, so nothing is compared here." if not results.fusions else ""
        return f"{_reach(results, results.main)} {nothing}".strip()
    row = results.difference(candidate, PRIMARY)
    interval = f"{signed(row.difference)}, 95 % interval {signed_spread(row.ci_low, row.ci_high)} {GIVEN}"
    if _of_all(row, candidate, reference):
        reached = _reach(results, candidate, reference)
    else:
        reached = (
            f"On the {row.patients} held-out {_units(results)} that every model predicted, {_named(candidate)} reached "
            f"an AUC of {number(row.value_a)} and {_named(reference)} {number(row.value_b)}."
        )
    sentences = [reached, f"The difference is {interval}.", primary_endpoint(results), _how_sure(results, row)]
    return " ".join([*sentences, better_than_each(results)]).strip()


def primary_endpoint(results: Results) -> str:
    """Name the primary endpoint and the p-value of its test."""
    test = results.primary_test
    if test is None:
        return ""
    return f"This is the primary endpoint: one test, not corrected for the other comparisons, {p_value(test.p)}."


def better_than_each(results: Results) -> str:
    """State the intersection-union test of the headline's fusion against each single modality; may be empty."""
    found = results.comparison.better_than_each if results.comparison else None
    if found is None or len(found.others) < 2:
        return ""
    weakest = next(_named(m) for m in results.models if m.name == found.weakest)
    if found.p < SIGNIFICANCE:
        return f"The fusion is better than each modality alone (intersection-union test, {p_value(found.p)})."
    least = f"least against {weakest}" + (f", {p_value(found.p)}" if found.p < 1 else ", which it does not surpass")
    return f"That it is better than each modality alone was not shown ({least}; intersection-union test)."


def p_value(p: float) -> str:
    """Write a p-value; near 0.05 with the digits that tell the side."""
    return "p < 0.001" if p < 0.001 else f"p = {number(p, 4 if abs(p - SIGNIFICANCE) < 0.001 else 3)}"


def _how_sure(results: Results, row: Difference) -> str:
    """Say what the interval of the difference excludes."""
    excludes = row.ci_low > 0 or row.ci_high < 0
    if shown_difference(results):
        return "The interval excludes zero: chance in the choice of patients alone would rarely give such a difference."
    if np.isnan(row.ci_low):
        return "There are too few patients for an interval."
    if excludes:
        return "Test and interval disagree, so near is the difference to what chance gives: none is claimed."
    return (
        f"The interval includes zero: these patients fit a loss of {number(-row.ci_low)} "
        f"as well as a gain of {number(row.ci_high)}. That is no proof that the two are equal."
    )


def weak_class_answer(results: Results) -> str:
    """Count the patients of the weakest class who were recognised."""
    name = results.weak_class
    sentences = []
    for model in reversed(results.headline):
        found, of = recognised(results, model, name)
        row = results.interval(model, "recall", name)
        recall = f"recall {number(row.value, 2)}, 95 % interval {spread(row.ci_low, row.ci_high)}"
        sentences.append(f"{_sentence(_named(model))} recognised {found} of {of} {name} {_units(results)} ({recall}).")
    if results.candidate and results.reference:
        gap = results.difference(results.candidate, "recall", name)
        relation = "excludes" if gap.ci_low > 0 or gap.ci_high < 0 else "includes"
        interval = signed_spread(gap.ci_low, gap.ci_high)
        start = "The difference is"
        if not _of_all(gap, results.candidate, results.reference):
            start = f"Among the {_units(results)} that every model predicted the difference is"
        sentences.append(f"{start} {signed(gap.difference)} ({interval}), which {relation} zero.")
    return " ".join(sentences)


def how_to_read_auc(results: Results) -> str:
    """Explain an AUC to a reader who has not met one."""
    auc, unit = results.interval(results.main, PRIMARY).value, _units(results)[:-1]
    return (
        f"AUC is the chance that a {unit} with a diagnosis gets a higher probability of it than a {unit} without it, "
        f"averaged over the diagnoses: {number(auc)} means {round(100 * auc)} of 100 such pairs; 0.5 is a coin. "
        "A 95 % interval shows how much a figure would move had other patients of the same kind been studied, "
        f"{GIVEN}: other seeds or folds would move it further."
    )


def model_selection(results: Results) -> str:
    """Tell how the two models of the headline were chosen."""
    sentences = []
    reference, candidate = results.reference, results.candidate
    if results.named_reference and reference:
        sentences.append(f"{_sentence(_named(reference))} is the reference that the others are compared with.")
    elif len(results.singles) > 1 and reference and not results.best_single:
        sentences.append(
            f"{_sentence(_named(reference))} is the modality that was given first; the inner validation patients lack "
            "a class, so they cannot tell which modality is best."
        )
    elif len(results.singles) > 1 and reference:
        auc = number(reference.inner_auc)
        sentences.append(
            f"{_sentence(_named(reference))} is the best single modality on inner validation (mean AUC {auc}), "
            "patients apart from those that the figures come from."
        )
    if candidate and len(results.others) > 1:
        sentences.append(
            f"{_sentence(_named(candidate))} {_how_chosen(results, candidate)}; the interval above is its own. "
            "The other comparisons stand under Differences, with p-values corrected for their number."
        )
    return " ".join(sentences)


def _how_chosen(results: Results, candidate: Model) -> str:
    if candidate.name in results.chosen_from:
        rivals = [model.what.lower() for model in results.fusions if model.name in results.chosen_from]
        return f"does best of {listed(rivals)} on inner validation (mean AUC {number(candidate.inner_auc)})"
    if not candidate.is_fusion:
        return "is the model that was given first"
    return "is the only fusion of this page" if len(results.fusions) == 1 else "is the fusion that was given first"


def facts(results: Results) -> list[Fact]:
    """List the figures of the first page."""
    cohort = results.cohort
    counts = np.bincount(cohort.patients[LABEL], minlength=len(cohort.classes))
    counted = ", ".join(f"{count} {name}" for count, name in zip(counts, cohort.classes, strict=True))
    kind = f"simulated {_units(results)}" if cohort.simulated else _units(results)
    if left_out := len(cohort.patients) - len(results.main.predictions.table):
        counted += f"; {left_out} without a prediction"
    found = [Fact(f"{kind} studied", str(len(cohort.patients)), counted)]
    for model in results.headline:
        row = results.interval(model, PRIMARY)
        heading = _role(results, model)
        detail = f"AUC ({spread(row.ci_low, row.ci_high)}), {model.title}"
        found.append(Fact(heading, number(row.value), detail, results.colour_of(model)))
    hits, of = recognised(results, results.main, results.weak_class)
    recall = results.interval(results.main, "recall", results.weak_class)
    detail = f"recall {number(recall.value, 2)} ({spread(recall.ci_low, recall.ci_high)}), {results.main.title}"
    found.append(Fact(f"{results.weak_class} recognised", f"{hits} of {of}", detail, results.colour_of(results.main)))
    return found


def _role(results: Results, model: Model) -> str:
    """Name a model of the headline in a word or two."""
    if model.is_fusion:
        return "fusion"
    if model.is_single and model is results.best_single and len(results.singles) > 1:
        return "best single modality"
    if model.is_single:
        return "modality"
    return "reference" if model is results.reference else "model"


def training_time(results: Results) -> str:
    """Tell how long the training took and how fast it was."""
    fits = [fold for model in results.models for fold in model.record.folds]
    if not fits:
        return "Nothing was trained for the runs of this page."
    minutes = sum(fold.seconds for fold in fits) / 60
    speed = float(np.median([fold.pictures_per_second for fold in fits]))
    return f"{minutes:.1f} minutes for {len(fits)} fits; median {speed:.0f} pictures/s."


def limits(results: Results) -> list[str]:
    """State the uses that the report must not serve."""
    hits, of = recognised(results, results.main, results.weak_class)
    found = [
        "To diagnose or treat a patient: this is a result of research, not a medical device.",
        f"To spare a patient the biopsy: {of - hits} of {of} {results.weak_class} {_units(results)} were taken for "
        "something else.",
        "To foretell results at another hospital, on another device or in another mix of diseases: every figure comes "
        f"from cross-validation inside the cohort {results.cohort.name}.",
    ]
    if results.cohort.simulated:
        found.insert(0, "To say anything about real patients: these are simulated. They show whether the method works.")
    return found


def _of_all(row: Difference, *models: Model) -> bool:
    """Tell whether a difference is one of all whom its models predicted."""
    return all(row.patients == len(model.predictions.table) for model in models)


def recognised(results: Results, model: Model, of_class: str) -> tuple[int, int]:
    """Count the patients of a class that the model recognised, and all of them that it predicted."""
    label = results.cohort.classes.index(of_class)
    of = model.predictions.labels == label
    return int((model.predictions.probs[of].argmax(axis=1) == label).sum()), int(of.sum())


def _reach(results: Results, *models: Model) -> str:
    """Compare the AUC of models that predicted the same number of patients."""
    reached = []
    for model in models:
        row = results.interval(model, PRIMARY)
        reached.append(f"{_named(model)} reached an AUC of {number(row.value)} ({spread(row.ci_low, row.ci_high)})")
    return f"On {len(models[0].predictions.table)} held-out {_units(results)}, {' and '.join(reached)}."


def _units(results: Results) -> str:
    """Name what has a label: patients, or nodes of them."""
    return "nodes" if results.cohort.of_nodes else "patients"


def _named(model: Model) -> str:
    """Give its title inside a sentence: ``elastography``, ``the fusion by mean of probabilities (resnet152)``."""
    what = model.what[0].lower() + model.what[1:]
    named = f"the fusion by {what}" if model.is_fusion else what
    return f"{named} ({model.group})" if model.group else named


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
