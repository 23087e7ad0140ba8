"""Card of a model, in the layout of Hugging Face, and its page of facts: they follow from record and scores alone."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fusion_ln.evaluation.limits.shares import share_interval
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE, FoldScores
from fusion_ln.explanations import MapTests
from fusion_ln.frozen.record import ModelRecord
from fusion_ln.records.parts import GIVEN, Preparation
from fusion_ln.terms import mark_commands, modality_title

CardRow = tuple[str, str, str, str]  # of the table of figures: what, class, value, interval

PAPER = (
    "Its trainings stopped early on the patients who then tested them: every figure of it is too good. It is kept to "
    "repeat a paper, not to be used."
)
NOT_A_DEVICE = "Research software and no medical device: never for a diagnosis."
SIMULATED_MODEL = "It was trained on simulated patients: it says nothing about real ones."
# Figures of `experiments/evidence/frozen_scores.py`.
SIMULATED_STUDIES = "Of the procedure: in 200 simulated studies each of 240 and of 586 patients, such sets"
SPECIAL = re.compile(r"([\\*_{}\[\]<>#|])")  # what Markdown would read


@dataclass(frozen=True)
class Facts:
    """Facts that card and page state.

    Attributes:
        title: Of the model.
        warnings: What a user must know first.
        sections: Heading and lines of each.
        figures: Rows of the table.
    """

    title: str
    warnings: list[str]
    sections: list[tuple[str, list[str]]]
    figures: list[CardRow]


def render_card(record: ModelRecord, scores: FoldScores) -> str:
    """Write the card, as Markdown under a YAML head."""
    environment = Environment(
        loader=PackageLoader("fusion_ln.frozen"), undefined=StrictUndefined, trim_blocks=True, finalize=_escape
    )
    head = Markup("---\n{}---\n").format(Markup(_head(record)))
    return environment.get_template("model_card.md").render(facts=_facts(record, scores), head=head)


def render_facts(record: ModelRecord, scores: FoldScores) -> str:
    """Write the page of facts, as HTML."""
    loader = PackageLoader("fusion_ln.frozen")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, autoescape=True)
    environment.filters["commands"] = mark_commands
    return environment.get_template("facts.html").render(facts=_facts(record, scores))


def _escape(value: object) -> object:
    return value if isinstance(value, Markup) else SPECIAL.sub(r"\\\1", str(value))


def _head(record: ModelRecord) -> str:
    """Write the metadata that the hub reads; JSON is YAML."""
    metrics = [{"type": "roc_auc", "name": f"AUC, {each.of}", "value": round(each.value, 4)} for each in record.figures]
    task = {"type": "image-classification", "name": "Classification of lymph nodes"}
    data = {"type": "ultrasound", "name": f"{record.study.cohort}, out of fold"}
    metadata: Mapping[str, object] = {
        "license": "other",
        "license_name": record.licence,
        "library_name": "fusion_ln",
        "pipeline_tag": "image-classification",
        "tags": ["ultrasound", "medical-imaging", "research-only", *record.modalities],
        "model-index": [
            {"name": record.title, "results": [{"task": task, "dataset": data, "metrics": metrics}]},
        ],
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in metadata.items())


def warnings_of(record: ModelRecord) -> list[str]:
    """List what a user of the model must know first."""
    paper = record.study.protocol == "paper"
    return [PAPER] * paper + [SIMULATED_MODEL] * record.study.simulated + _preparation(record.study.preparation)


def _preparation(preparation: Preparation | None) -> list[str]:
    """Say what was done to the pictures that the model learnt from."""
    if preparation is None:
        return []
    if preparation.crop == GIVEN:
        how = "give it pictures that are cut alike by hand"
    elif preparation.untold:
        how = (
            f"`predict` and `serve` apply `--crop {preparation.crop}` to each picture by itself; "
            f"{preparation.untold} of {sum(preparation.boxes.values())} boxes were given by hand or leave out what all "
            "screens share, which it does not find: cut such pictures alike by hand"
        )
    else:
        same = "the rest" if preparation.frames else "the same"
        how = f"`predict` and `serve` do {same} to each picture; elsewhere give it pictures prepared alike"
    if preparation.frames:
        of_cines = (
            "`predict` takes frames of a cine by this rule, `serve` refuses a cine and takes its frames one by one"
        )
        is_all = preparation.of_each == "taken whole"
        how = f"{of_cines}; elsewhere give it such frames" if is_all else f"{of_cines}; {how}"
    return [f"The pictures of its study were {preparation}: {how}."]


def _facts(record: ModelRecord, scores: FoldScores) -> Facts:
    study = record.study
    reads = [f"{modality_title(name)} ({side} x {side} pixels)" for name, side in record.modalities.items()]
    counts = ", ".join(f"{n} {name}" for name, n in study.patients.items())
    sections = [
        ("What it is", [
            f"{record.title}, from {', '.join(reads)}, to one of: {', '.join(record.classes)}.",
            _answer(record),
            *_subsets(record),
            f"Frozen on {record.frozen}. digest.json names its content; `fusionln verify MODEL` checks it.",
        ]),
        ("Trained on whom", [
            f"{sum(study.patients.values())} patients of the cohort {study.cohort}: {counts}.",
            *([f"Licence of the cohort: {study.licence}."] if study.licence else []),
            f"{study.n_folds} outer folds by patient; protocol {study.protocol}.",
            *([f"Its networks began from {'; '.join(study.weights)}."] if study.weights else []),
        ]),
        ("Not for", [
            "A diagnosis, or any decision about a patient.",
            "Patients, scanners or classes that its study did not have: a picture unlike all that it learnt from is "
            "flagged as such, but not every such picture can be found.",
            "Populations with other shares of the classes, unless `--prevalence` gives them.",
        ]),
        ("Tested where", [
            "In its own study, out of fold: each patient by the model that held the patient out.",
            *([describe_tests(record.map_tests)] if record.map_tests else []),
            "On no other cohort when it was frozen; `fusionln evaluate MODEL --cohort OTHER` does that.",
        ]),
        ("Licence", [record.licence]),
    ]  # fmt: skip
    return Facts(record.title, warnings_of(record), sections, _figures(record, scores))


def _subsets(record: ModelRecord) -> list[str]:
    if len(record.modalities) == 1:
        return []
    return [f"It answers from any of its modalities; {len(record.calibration)} subsets of them are calibrated apart."]


def describe_tests(tests: MapTests) -> str:
    """Say which attribution maps the tests of a model's study trust most."""
    found = (
        f"put in instead of taken out, the pixels of {tests.title} change the probability of the class by "
        f"{tests.gain:+.2f}, those of random maps by {tests.random:+.2f} (means over {tests.patients} patients)"
    )
    return f"Its study trusts {f'the maps of {tests.title} most' if tests.trusted else 'no maps'}: {found}."


def _answer(record: ModelRecord) -> str:
    """Say what answers, and on what its calibration and its sets rest."""
    if record.answer == "refit":
        epochs = ", ".join(f"{name} {n}" for name, n in (record.epochs or {}).items())
        return (
            f"One model, trained once more on all patients for the median of the folds' best epochs ({epochs}). Its "
            "calibration and the thresholds of its sets come from the folds' models on patients whom they held out; "
            "for this model they are approximate. How often its own sets hold the class was not measured, since no "
            f"patient of the study is unseen by it. {SIMULATED_STUDIES} held 91 to 92 % of each class, and calibration "
            "slopes were 1.09 to 1.21, so its probabilities are less sure than they might be."
        )
    return (
        f"The mean of the models of {record.study.n_folds} folds. Its calibration is learnt from patients unseen by "
        "one, and by two or more of them, and extrapolated to all; its sets are CV+ of the folds' models at "
        f"{100 * (1 - MISS_RATE):.0f} %: proven to hold {100 * (1 - 2 * MISS_RATE):.0f} % of each class. "
        f"{SIMULATED_STUDIES} held 93 to 95 % of each class, and calibration slopes were 1.05 to 1.10."
    )


def _figures(record: ModelRecord, scores: FoldScores) -> list[CardRow]:
    rows: list[CardRow] = [
        ("AUC of the folds' models", each.of, f"{each.value:.3f}", f"{each.low:.3f} to {each.high:.3f}")
        for each in record.figures
    ]
    for c, name in enumerate(record.classes):
        if found := covered(scores, c):
            low, high = share_interval(*found)
            shown = f"{found[0]} of {found[1]} ({found[0] / found[1]:.3f})"
            rows.append(("Held by sets from the other folds", name, shown, f"{low:.3f} to {high:.3f}"))
    for point in record.operating_points:
        for rate, value in (("Sensitivity", point.sensitivity), ("Specificity", point.specificity)):
            shown = f"{value.hits} of {value.n} ({value.value:.3f})"
            of = f"{point.title}, from {point.threshold:.3f} on"
            rows.append((rate, of, shown, f"{value.low:.3f} to {value.high:.3f}"))
    return rows


def covered(scores: FoldScores, c: int) -> tuple[int, int] | None:
    """Count the patients of a class whom sets hold that the scores of the other folds set, and all of the class.

    Returns:
        None where there are no other folds, as of a refit.
    """
    own = scores.labels == c
    hits = 0
    if len(np.unique(scores.folds)) < 2:
        return None
    for fold in np.unique(scores.folds):
        held, others = scores.scores[own & (scores.folds == fold)], scores.scores[own & (scores.folds != fold)]
        at_least = (others >= held[:, None]).sum(axis=1)
        hits += int(((at_least + 1) / (len(others) + 1) > MISS_RATE).sum())
    return hits, int(own.sum())
