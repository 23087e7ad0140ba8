"""What other starting weights buy: each modality's baselines from two starts, on the same patients, folds and seeds."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError
from fusion_ln.evaluation.intervals import align, difference_table, mean_of, resample
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions, read_predictions
from fusion_ln.records import BaselineRecord
from fusion_ln.report.kit import style
from fusion_ln.report.kit.figures import ForestRow, draw_forest, mark_plate
from fusion_ln.report.kit.page import write_page
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import LIGHT, modality_colour, signed, signed_spread
from fusion_ln.runs import RunFolder
from fusion_ln.terms import modality_title


@dataclass(frozen=True)
class Gain:
    """What a start buys one modality over the reference's: a row of the table.

    Attributes:
        auc, auc_reference: Mean over the seeds of the macro one-vs-rest AUC.
        ci_low, ci_high: Ends of the difference's 95 % interval.
        by_seed: The difference of each seed.
    """

    backbone: str
    modality: str
    weights: str
    reference: str
    auc: float
    auc_reference: float
    difference: float
    ci_low: float
    ci_high: float
    bootstrap_p: float
    patients: int
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class _Baseline:
    backbone: str
    modality: str
    weights: str
    seed: int
    budget: tuple[tuple[str, object], ...]  # every other setting: what must be the same for a fair comparison
    predictions: Predictions


def write_ablation(out: Path, runs: list[RunFolder], cohort: Cohort, *, title: str, question: str) -> Path:
    """Compare the baselines of several starting weights and write ``ablation.html`` with its figure and table.

    The difference is that of the mean AUC over the seeds; its interval resamples the patients, the same draw for both
    starts and all seeds, so it speaks of the patients and the differences by seed speak of the training.

    Args:
        out: Where to write.
        runs: Runs of the cohort; only its baselines are looked at. The weights of the first are the reference.
        cohort: Their cohort.
        title: Heading of the page.
        question: What was asked, in one sentence.

    Returns:
        Path of the page.

    Raises:
        RunError: If the baselines of two starts differ in seeds or in more than their weights.
        PredictionsError: If their patients or folds differ.
    """
    gains = compare_weights([_read(run, r) for run in runs if isinstance(r := run.read_record(), BaselineRecord)])
    with style.figure_style():
        figure = mark_plate("pretraining", "Gain in AUC", "", _draw(gains, cohort), simulated=cohort.simulated)
    table = pd.DataFrame([asdict(g) | {"by_seed": " ".join(f"{d:.4f}" for d in g.by_seed)} for g in gains])
    starts = dict.fromkeys(f"{g.weights}, {g.backbone}" for g in gains)
    of_start = {start: [g.by_seed for g in gains if f"{g.weights}, {g.backbone}" == start] for start in starts}
    return write_page(
        out / "ablation.html",
        "ablation.html",
        [figure],
        [Sheet("pretraining", "Gain in AUC", table)],
        simulated=cohort.simulated,
        title=title,
        question=question,
        cohort=cohort,
        plate=figure,
        gains=gains,
        means={start: np.mean(rows, axis=0).tolist() for start, rows in of_start.items()},
    )


def compare_weights(baselines: list[_Baseline]) -> list[Gain]:
    """One row per backbone, modality and start other than the first's."""
    reference = baselines[0].weights
    gains = []
    for (backbone, modality, weights), own, other in _pairs(baselines, reference):
        arms = [p.predictions for pair in zip(own, other, strict=True) for p in pair]
        resampled = resample([arms[0], *(align(arms[0], arm)[1] for arm in arms[1:])], n_resamples=2000, seed=0)
        means = difference_table(mean_of(resampled[::2]), mean_of(resampled[1::2]))
        row = means[means["metric"] == PRIMARY].iloc[0]
        place = resampled[0].names.index(PRIMARY)
        by_seed = tuple(float(a.minus(b).value[place]) for a, b in zip(resampled[::2], resampled[1::2], strict=True))
        gains.append(
            Gain(
                backbone=backbone,
                modality=modality,
                weights=weights,
                reference=reference,
                auc=float(row["value_a"]),
                auc_reference=float(row["value_b"]),
                difference=float(row["difference"]),
                ci_low=float(row["ci_low"]),
                ci_high=float(row["ci_high"]),
                bootstrap_p=float(row["bootstrap_p"]),
                patients=len(arms[0].table),
                by_seed=by_seed,
            )
        )
    return gains


def _pairs(
    baselines: list[_Baseline], reference: str
) -> Iterator[tuple[tuple[str, str, str], list[_Baseline], list[_Baseline]]]:
    """Each start's baselines of a backbone and modality beside the reference's, both by seed."""
    groups: dict[tuple[str, str, str], list[_Baseline]] = {}
    for each in sorted(baselines, key=lambda each: each.seed):
        groups.setdefault((each.backbone, each.modality, each.weights), []).append(each)
    order = dict.fromkeys((each.backbone, each.modality, each.weights) for each in baselines)
    for key in order:
        if key[2] == reference:
            continue
        own, other = groups[key], groups.get((*key[:2], reference), [])
        if [(b.seed, b.budget) for b in own] != [(b.seed, b.budget) for b in other]:
            raise RunError(
                f"{key[1]}: the baselines from {key[2]} and from {reference} differ in more than their weights.",
                "Run both with the same settings and seeds.",
            )
        yield key, own, other


def _read(run: RunFolder, record: BaselineRecord) -> _Baseline:
    settings = record.settings
    backbone, weights = settings.fit.backbone, Path(settings.fit.weights)
    others = settings.fit.model_dump(mode="json", exclude={"backbone", "weights"})
    if weights.name == run.backbone.name:  # a pre-training is called after its folder
        weights = weights.parent
    budget = tuple(sorted({**others, "protocol": settings.protocol}.items()))
    return _Baseline(
        backbone, settings.modality, weights.name, settings.seed, budget, read_predictions(run.predictions)
    )


def _draw(gains: list[Gain], cohort: Cohort) -> Figure:
    """Forest plot: a row per modality; small dots are the seeds."""
    several = len({(gain.backbone, gain.weights) for gain in gains}) > 1
    starts = [f" · {gain.backbone}, {gain.weights}" if several else "" for gain in gains]
    rows = [
        ForestRow(
            title=modality_title(gain.modality) + start,
            colour=LIGHT[modality_colour(gain.modality, cohort.modalities)],
            value=gain.difference,
            low=gain.ci_low,
            high=gain.ci_high,
            by_seed=gain.by_seed,
            note=f"{signed(gain.difference)} ({signed_spread(gain.ci_low, gain.ci_high)})",
        )
        for gain, start in zip(gains, starts, strict=True)
    ]
    figure, axes = draw_forest(rows, zero=True)
    axes.set_xlabel("Difference in AUC; right of zero the other start is better")
    return figure
