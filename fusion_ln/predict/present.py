"""Answers as a table, and as the JSON that other programs read."""

import numpy as np
import pandas as pd

from fusion_ln.export.engine.choice import engine_of
from fusion_ln.frozen.answer import Answers
from fusion_ln.predict.predictor import Predictor
from fusion_ln.terms import MODALITIES_USED, PATIENT, PROB, RAW, UNLIKE
from fusion_ln.units import unit_columns

PREDICTED, DECISION, EXPECTED_COST, PROBABILITIES, SET = (
    "predicted",
    "decision",
    "expected_cost",
    "probabilities",
    "set",
)
CONTRIBUTION = "contribution_"  # + modality
ALONE = "alone"


def as_table(predictor: Predictor, answers: Answers) -> pd.DataFrame:
    """Tabulate answers.

    Returns:
        ``patient_id, predicted, prob_<class>..., set`` (classes joined by `` / ``) ``, contribution_<modality>...,
        modalities`` (of which pictures were used, as in ``2d+elastic``) ``, unlike`` (yes or no)
        ``, probabilities`` (how ``prob_<class>`` were
        made) ``, raw_<class>...``, one row per patient, sorted. Where there are costs, ``decision, expected_cost``
        follow ``predicted``.
    """
    classes, modalities = np.array(predictor.model.record.classes), np.array(predictor.model.modalities)
    table = pd.DataFrame({PATIENT: answers.patients, PREDICTED: classes[answers.probs.argmax(axis=1)]})
    table = table.join(pd.DataFrame(_decisions(predictor, answers), index=table.index))
    table[[PROB + name for name in classes]] = answers.probs
    table[SET] = [" / ".join(classes[inside]) for inside in answers.member]
    table[[CONTRIBUTION + name for name in modalities]] = answers.contributions
    table[MODALITIES_USED] = ["+".join(modalities[mask]) for mask in answers.present]
    table[UNLIKE] = _unlike(answers)
    table[PROBABILITIES] = kind_of(predictor)
    table[[RAW + name for name in classes]] = answers.raw
    return table


def _unlike(answers: Answers) -> list[str]:
    """Say of each patient whether some picture is unlike what the model learnt from; nothing where it does not tell."""
    return ["" if np.isnan(distance) else "yes" if distance > 1 else "no" for distance in answers.distance]


def kind_of(predictor: Predictor) -> str:
    """Name the kind of the probabilities."""
    return "calibrated" if predictor.prevalence is None else "calibrated, shifted to the prevalence"


def as_json(predictor: Predictor, answers: Answers) -> list[dict[str, object]]:
    """Describe the answer of each patient, or node, in JSON's types.

    ``patient_id`` and, of a node, ``node_id``; ``probabilities`` by class, ``set``, ``contributions`` by modality,
    ``alone`` (by modality and class, not calibrated: what its baseline says by itself, where the model still holds
    it), ``modalities``, ``unlike`` (None where the model does not tell), ``model`` with its digest, ``engine`` (what
    computed networks and fusions, with its version), and a decision where there are costs.
    """
    model = predictor.model
    classes, modalities = np.array(model.record.classes), np.array(model.modalities)
    described, engine = {"title": model.record.title, "digest": model.digest}, engine_of(model)
    return [
        {
            **unit_columns(str(unit)),
            PROBABILITIES: dict(zip(classes.tolist(), probs.tolist(), strict=True)),
            **decision,
            SET: classes[inside].tolist(),
            "contributions": dict(zip(modalities[mask].tolist(), shares[mask].tolist(), strict=True)),
            ALONE: {
                str(modality): dict(zip(classes.tolist(), each.tolist(), strict=True))
                for modality, each in zip(modalities, alone, strict=True)
                if np.isfinite(each).all()
            },
            MODALITIES_USED: modalities[mask].tolist(),
            UNLIKE: None if np.isnan(distance) else bool(distance > 1),
            "kind": kind_of(predictor),
            "model": described,
            "engine": engine,
        }
        for unit, probs, inside, shares, alone, mask, distance, decision in zip(
            answers.patients,
            answers.probs,
            answers.member,
            answers.contributions,
            answers.alone,
            answers.present,
            answers.distance,
            _decisions(predictor, answers),
            strict=True,
        )
    ]


def _decisions(predictor: Predictor, answers: Answers) -> list[dict[str, object]]:
    """Decide for each patient by the least expected cost; nothing where there are no costs."""
    costs = predictor.costs
    if costs is None:
        return [{} for _ in answers.patients]
    chosen = costs.decide(answers.probs)
    expected = costs.expected(answers.probs)[np.arange(len(chosen)), chosen]
    return [
        {DECISION: costs.decisions[i], EXPECTED_COST: float(cost)} for i, cost in zip(chosen, expected, strict=True)
    ]
