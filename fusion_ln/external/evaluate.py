"""Evaluation of a model on another cohort: refusals first, then one answer, the log, the figures and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.statistics import is_category
from fusion_ln.errors import CohortError, RunError, unknown
from fusion_ln.evaluation.external.answers import ExternalAnswers, tabulate_answers
from fusion_ln.evaluation.external.figures import Figures, PointEstimate, endpoint_names, score_external
from fusion_ln.evaluation.external.protocol import StoredProtocol, read_protocol
from fusion_ln.evaluation.external.recalibrate import CASE_DRAWS, check_cases, recalibrate
from fusion_ln.evaluation.external.record import (
    EVALUATION_FILE,
    PREDICTIONS,
    RECALIBRATION,
    EvaluatedCohort,
    EvaluatedModel,
    EvaluationRecord,
    judge_endpoint,
    read_record,
    write_record,
)
from fusion_ln.evaluation.subgroups import age_bands
from fusion_ln.files.folders import refuse_taken
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.frozen.answer import Answers
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.log import LogEntry, check_enterable, earlier_looks, entered, hash_place
from fusion_ln.frozen.moments import profile_of
from fusion_ln.predict.predictor import Predictor, load_predictor
from fusion_ln.progress import say
from fusion_ln.report.external.page import PAGE, write_evaluation
from fusion_ln.terms import LABEL, PATIENT, SITE

SUBGROUPS = (SITE, "sex", "age")  # those of the cohort, where no protocol names others
AGE = "age"
ANOTHER_FOLDER = "Choose another folder with `--out DIR`."
FEWEST_TO_SCORE = 2  # patients of each class, for any figure


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that was written.

    Attributes:
        record: What was fixed, and the verdict on the endpoint.
        figures: None without labels.
        page: Its page.
    """

    record: EvaluationRecord
    figures: Figures | None
    page: Path


def evaluate(
    root: Path,
    cohort: Cohort,
    out: Path,
    *,
    protocol: Path | None = None,
    cases: int | None = None,
    draws: int = CASE_DRAWS,
    label_free: bool = False,
) -> Evaluation:
    """Evaluate a model on another cohort, once, and write the figures, the predictions and the page.

    An evaluation that was stopped before its page was written gets its page.

    Args:
        root: A model's folder or, in its place, a finished run, which is frozen for the occasion.
        cohort: The other cohort.
        out: Folder of the evaluation.
        protocol: File of a protocol, see `EvaluationProtocol`.
        cases, draws: Number of local cases on which to recalibrate besides, and of draws of them; None: not at all.
        label_free: Do not look at the true classes.

    Raises:
        ModelError: If the model's folder or its log is damaged or was edited, or the log cannot be written.
        RunError: If ``out`` holds something, or the model was trained on patients or pictures of the cohort.
        CohortError: If the cohort has other classes, too few patients of one, or no picture that the model takes.
        SettingsError: If the protocol does not fit, or there are too few patients for ``cases``.
    """
    _refuse_occupied(out)
    with locked(out / LOCK):
        _refuse_occupied(out)  # another command may have written there meanwhile
        return _evaluate(root, cohort, out, protocol, cases, draws, label_free=label_free)


def _evaluate(
    root: Path, cohort: Cohort, out: Path, protocol: Path | None, cases: int | None, draws: int, *, label_free: bool
) -> Evaluation:
    predictor = load_predictor(root)
    model = predictor.model
    check_enterable(root)
    bound = (
        read_protocol(protocol, endpoint_names(model.record.classes, model.record.operating_points))
        if protocol
        else None
    )
    for network in model.models[0].networks:
        if warning := network.learnt_from(cohort.name, cohort.source):
            say(f"Warning: the weights that {root} began from: {warning}")
    cohort.refuse_nodes(
        "an evaluation takes one row per patient",
        "Import one node of each patient, or let the model answer alone (`fusionln predict MODEL --cohort DIR`).",
    )
    labels = None if label_free else _labels_of(cohort, model)
    groups = _groups_of(cohort, bound)
    if cases is not None and labels is not None:
        check_cases(cases, len(labels), len(model.record.classes))
    if (out / EVALUATION_FILE).is_file():
        held, figures = read_record(out)
        asked = (_describe_model(model), cohort.fingerprint, bound, cases, not label_free)
        if asked != (held.model, held.cohort.fingerprint, held.protocol, held.cases, held.labels):
            raise RunError(f"{out}: holds another evaluation, without its page.", ANOTHER_FOLDER)
        return Evaluation(held, figures, write_evaluation(out))
    answers = predictor.predict_cohort(cohort)
    table = _tabulate(predictor, answers, labels, groups)
    figures = score_external(table, model.record.operating_points) if table.has_labels else None
    points = model.record.operating_points
    again = recalibrate(table.predictions, points, cases, draws=draws) if cases and figures else None
    write_parquet(out / PREDICTIONS, table.table)
    if again:
        write_json(out / RECALIBRATION, again.model_dump(mode="json"))
    with locked(root / LOCK):
        record = EvaluationRecord(
            model=_describe_model(model),
            cohort=_describe_cohort(cohort, model, table),
            evaluated=datetime.now(UTC).date().isoformat(),
            labels=table.has_labels,
            earlier=earlier_looks(root, cohort.fingerprint, hash_place(out)),
            protocol=bound,
            endpoint=judge_endpoint(bound, figures) if bound and figures else None,
            cases=cases if again else None,
        )
        try:
            with entered(root, _entry_of(record, out)):
                write_record(out, record, figures)
        except BaseException:  # so that the same command goes on, and is the first look
            (out / EVALUATION_FILE).unlink(missing_ok=True)
            raise
    return Evaluation(record, figures, write_evaluation(out))


def _entry_of(record: EvaluationRecord, out: Path) -> LogEntry:
    return LogEntry(
        date=record.evaluated,
        digest=record.model.digest,
        cohort=record.cohort.name,
        fingerprint=record.cohort.fingerprint,
        patients=record.cohort.predicted,
        labels=record.labels,
        protocol=record.protocol.sha256 if record.protocol else None,
        place=hash_place(out),
    )


def _refuse_occupied(out: Path) -> None:
    if out.is_file():
        raise RunError(f"{out}: is a file.", ANOTHER_FOLDER)
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if {EVALUATION_FILE, PAGE} <= names:
        raise RunError(f"{out}: holds an evaluation already, which stands as it is.", ANOTHER_FOLDER)
    refuse_taken(out, EVALUATION_FILE)


def _labels_of(cohort: Cohort, model: FrozenModel) -> pd.Series:
    """Give each patient's class in the model's order of them, indexed by patient.

    Raises:
        CohortError: If there are no labels, the classes are not those of the model, or one has too few patients.
    """
    cohort.refuse_unlabelled()
    classes = model.record.classes
    if set(cohort.classes) != set(classes):
        raise CohortError(
            f"cohort {cohort.name}: its classes are {', '.join(cohort.classes)}; {model.root} tells "
            f"{', '.join(classes)} apart.",
            "Import it with the model's classes and names, or look at pictures and predictions alone (`--label-free`).",
        )
    place = [classes.index(name) for name in cohort.classes]
    shown = {name for m in model.record.modalities if m in cohort.modalities for name in cohort.patients_with(m)}
    labels = cohort.patients.set_index(PATIENT)[LABEL].map(dict(enumerate(place)))
    labels = labels[labels.index.isin(shown)] if shown else labels  # without any, `predict_cohort` refuses
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < FEWEST_TO_SCORE:
        raise CohortError(
            f"cohort {cohort.name}: {counts.min()} patient{'' if counts.min() == 1 else 's'} of class "
            f"{classes[counts.argmin()]!r} with a picture that the model takes; {FEWEST_TO_SCORE} of each are needed.",
            "Wait for more, or look at pictures and predictions alone (`--label-free`).",
        )
    return labels


def _groups_of(cohort: Cohort, protocol: StoredProtocol | None) -> dict[str, pd.Series]:
    """Give each patient's level of the variables by which subgroups are scored, indexed by patient.

    Raises:
        CohortError: If the protocol names a column that the cohort lacks, or one without few levels.
    """
    patients = cohort.patients.set_index(PATIENT)
    names: Sequence[str] = SUBGROUPS
    if protocol and protocol.content.subgroups:
        names = protocol.content.subgroups
        for name in names:
            if name not in patients or name == LABEL:
                known = [str(column) for column in patients if column != LABEL]
                raise CohortError(
                    *unknown("column", name, known, where=f"cohort {cohort.name}, subgroups of the protocol")
                )
            if name != AGE and not is_category(patients[name]):
                raise CohortError(
                    f"cohort {cohort.name}: subgroups by {name!r}, which has {patients[name].nunique()} values.",
                    "Name a column of few categories, or `age`, which is taken in bands.",
                )
    held = [name for name in names if name in patients and len(patients[name].dropna().unique()) > 1]
    return {name: age_bands(patients[name]) if name == AGE else patients[name] for name in held}


def _tabulate(
    predictor: Predictor, answers: Answers, labels: pd.Series | None, groups: dict[str, pd.Series]
) -> ExternalAnswers:
    modalities = np.array(predictor.model.modalities)
    return tabulate_answers(
        predictor.model.record.classes,
        answers.patients,
        answers.probs,
        answers.member,
        answers.raw,
        ["+".join(modalities[mask]) for mask in answers.present],
        labels=None if labels is None else labels.loc[answers.patients].to_numpy(),
        groups=groups,
        unlike=None if np.isnan(answers.distance).all() else answers.unlike,
    )


def _describe_model(model: FrozenModel) -> EvaluatedModel:
    record = model.record
    return EvaluatedModel(
        name=model.root.resolve().name,
        digest=model.digest,
        title=record.title,
        modalities=tuple(record.modalities),
        study=record.study.cohort,
        simulated=record.study.simulated,
        patients=record.study.patients,
        paper=record.study.protocol == "paper",
        frozen=record.frozen,
        profile=record.study.profile,
        points=record.operating_points,
        auc={each.of: PointEstimate(value=each.value, low=each.low, high=each.high) for each in record.figures},
    )


def _describe_cohort(cohort: Cohort, model: FrozenModel, table: ExternalAnswers) -> EvaluatedCohort:
    subset = "+".join(m for m in model.modalities if m in cohort.modalities)
    attainable = cohort.details.attainable.cohort.get(subset, {}).get("auc")
    profile = profile_of(cohort, model.record.modalities, labelled=table.has_labels)
    return EvaluatedCohort(
        name=cohort.name,
        fingerprint=cohort.fingerprint,
        simulated=cohort.simulated,
        patients=len(cohort.patients),
        predicted=len(table.table),
        classes=table.counts,
        unlike=table.n_unlike,
        profile=profile,
        attainable=attainable if list(profile.presence) == [subset] else None,
    )
