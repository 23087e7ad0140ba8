"""Heads trained again and again on the tokens of one finished run: what is a difference, and what only the seed's?

Question  How much do heads differ beyond their seeds, from late fusion and from the best single modality; what of
          lymphoma do they find?
Command   python experiments/accuracy/repeated_heads.py RUNS      (the folder of `fusionln run fusion`)
Time      about 3 CPU seconds a head, seed and fold: 10 minutes for 20 seeds of two heads
Expect    seeds apart by 0.003 in AUC; of 240 patients no head is told apart from the mean of logits, all are
          from the best single modality
          (it writes benchmarks/repeated_heads.md)

Late fusions have no seed: they stand there once. Intervals are for other patients, the given networks, and the mean
over the seeds of the heads.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import open_run_cohort
from fusion_ln.cohort.phantom.findings import tables
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.evaluation.intervals import Resampled, align, mean_of, resample
from fusion_ln.evaluation.limits.shares import wilson_of_few
from fusion_ln.files.formats import write_text
from fusion_ln.heads import LATE_HEADS, head_title
from fusion_ln.metrics import METRICS, PRIMARY
from fusion_ln.predictions import Predictions, join_tables, read_predictions, write_predictions
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.terms import LABEL, PROB, short_title
from fusion_ln.training.fusion.heads import fit_head, fold_tokens
from fusion_ln.training.fusion.late import finished_baseline, fuse_late
from fusion_ln.training.fusion.task import PatientBatches

PAGE = Path(__file__).parents[1] / "benchmarks" / "repeated_heads.md"
SPECIFICITY, RESAMPLES = 0.9, 1000
HEADS, CLASS = ["concat", "cross-attention"], "lymphoma"
AT_PREVALENCE = ("late-stacked", "late-product")  # learnt on patients as they come, not with balanced classes
RULES = {"balanced": "equally", "prevalence": "as frequent as they are"}
CPU = DeviceSettings(device="cpu", workers=1)
SHOWN = tuple(m for m in METRICS if m.name == PRIMARY or (m.name == "recall" and m.per_class))
AUC, RECALL = 0, 1 + tables().classes.index(CLASS)  # places among the values of `SHOWN`


def labels_of(cohort: Cohort, member: RunFolder) -> str:
    """Say on which labels a network learnt."""
    smoothing = finished_baseline(cohort, member).fit.label_smoothing
    return f"labels smoothed by {smoothing:g}" if smoothing else "labels as they are"


def predict_all(cohort: Cohort, members: list[RunFolder], heads: Sequence[str], seeds: int, kept: Path) -> None:
    """Train every head with every seed on stored tokens and keep its out-of-fold predictions; kept ones stay."""
    fabric = make_fabric(CPU, "32-true")
    banks = [fold_tokens(cohort, members, HeadSettings(), n, (), fabric.device) for n in range(cohort.n_folds)]
    for seed, head in product(range(seeds), heads):
        path, settings, tables = kept / f"{head}-{seed}.parquet", HeadSettings(head=head), []
        for number, bank in enumerate([] if path.is_file() else banks):
            with TemporaryDirectory() as folder, fixed_threads(cohort.n_folds):
                fitted = fit_head(cohort, bank, settings, number, seed=seed, fabric=fabric, folder=Path(folder))
                batches = PatientBatches(bank, bank.of(cohort.held_out(number)), settings.batch_size)
                logits = fitted.task.predict(batches, fabric.device)
            tables.append(logits.of_fold(cohort.classes, number).table)
        if tables:
            write_predictions(path, join_tables(cohort.classes, tables))


def by_rule(predictions: Predictions, prior: np.ndarray, head: str, rule: str) -> Predictions:
    """Weigh the classes of predictions as a rule asks; networks and heads were trained with balanced classes."""
    learnt_at_prevalence = head in AT_PREVALENCE
    factor = {"balanced": 1 / prior, "prevalence": np.ones_like(prior)} if learnt_at_prevalence else None
    factor = factor or {"balanced": np.ones_like(prior), "prevalence": prior}
    joint = predictions.probs * factor[rule]
    table = predictions.table.copy()
    table[[PROB + name for name in predictions.classes]] = joint / joint.sum(axis=1, keepdims=True)
    return Predictions(predictions.classes, table)


@dataclass(frozen=True)
class Row:
    """A model: its resamples by rule, one a seed, and the rule that its own outputs follow.

    Attributes:
        at_specificity: Recall of `CLASS` at `SPECIFICITY`, mean over the seeds: of the sample, then of resamples.
    """

    title: str
    by_rule: dict[str, list[Resampled]]
    own: str
    at_specificity: np.ndarray

    @cached_property
    def means(self) -> dict[str, Resampled]:
        """Mean over the seeds, by rule."""
        return {rule: mean_of(each) for rule, each in self.by_rule.items()}

    @property
    def of_seeds(self) -> list[float]:
        """AUC of each seed."""
        return [float(each.value[AUC]) for each in self.by_rule[self.own]]

    def value(self, rule: str, at: int, digits: int) -> str:
        """Write a mean with its interval."""
        mean = self.means[rule]
        low, high = (end[at] for end in mean.interval)
        return f"{mean.value[at]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    def gain(self, other: "Row", rules: tuple[str, str], at: int, digits: int) -> str:
        """Write the difference to another model, each by its rule, with its interval; nothing to itself."""
        if other is self:
            return ""
        mean, reference = self.means[rules[0]], other.means[rules[1]]
        low, high = (end[at] for end in mean.difference_interval(reference))
        return f"{mean.value[at] - reference.value[at]:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"

    def cells(self, single: "Row", late: "Row") -> list[str]:
        """List the cells of the table."""
        spread = f"{np.std(self.of_seeds, ddof=1):.4f}" if len(self.of_seeds) > 1 else ""
        gains = [self.gain(other, (self.own, other.own), AUC, 3) for other in (single, late)]
        recalls = [self.value(rule, RECALL, 2) for rule in RULES]
        recall_gain = self.gain(single, ("balanced", "balanced"), RECALL, 2)
        gained = self.at_specificity - single.at_specificity
        low, high = np.percentile(gained[1:], [2.5, 97.5])
        interval = "" if single is self else f", {gained[0]:+.2f} ({low:+.2f} to {high:+.2f})"
        return [
            self.title,
            str(len(self.of_seeds)),
            self.value(self.own, AUC, 3),
            spread,
            *gains,
            *recalls,
            recall_gain,
            f"{self.at_specificity[0]:.2f}{interval}",
        ]


def recall_at_specificity(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Compute the recall at `SPECIFICITY` of the sample, then of `RESAMPLES` resamples, drawn class by class."""
    rng, drawn = np.random.default_rng(0), []
    for held in (positive, ~positive):
        rows = np.flatnonzero(held)
        drawn.append(np.concatenate([rows[None], rng.choice(rows, (RESAMPLES, len(rows)))]))
    threshold = np.quantile(scores[drawn[1]], SPECIFICITY, axis=1)
    return np.asarray((scores[drawn[0]] > threshold[:, None]).mean(axis=1))


def rows_of(models: dict[str, list[Predictions]], cohort: Cohort) -> dict[str, Row]:
    """Resample all models on the same draws."""
    prior = np.bincount(cohort.patients[LABEL]) / len(cohort.patients)
    first, resampled = next(iter(models.values()))[0], {}
    for rule in RULES:
        weighed = [by_rule(each, prior, name, rule) for name, held in models.items() for each in held]
        aligned = [align(first, each)[1] for each in weighed]
        resampled[rule] = iter(resample(aligned, n_resamples=2000, seed=0, metrics=SHOWN, share_limits=wilson_of_few))
    rows = {}
    for name, held in models.items():
        title = short_title(name) if name in cohort.modalities else head_title(name)
        of_rules = {rule: [next(resampled[rule]) for _ in held] for rule in RULES}
        own, label = "prevalence" if name in AT_PREVALENCE else "balanced", cohort.classes.index(CLASS)
        recalls = [recall_at_specificity(each.probs[:, label], each.labels == label) for each in held]
        rows[name] = Row(title, of_rules, own, np.mean(recalls, axis=0))
    return rows


def render(rows: dict[str, Row], cohort: Cohort, labels: str, origin: str) -> str:
    """Write the page: AUC, recall of lymphoma by two rules, and gains, each with its interval."""
    single = max((rows[modality] for modality in cohort.modalities), key=lambda row: row.of_seeds)
    figures = cohort.details.attainable.cohort["+".join(cohort.modalities)]
    rules = "; ".join(f"*{name}*: {meaning}" for name, meaning in RULES.items())
    exact = [f"{figures[f'{of}recall_{CLASS}']:.2f}" for of in ("balanced_", "")]
    return "\n".join(
        [
            "# Heads over many seeds, on the tokens of one run",
            "",
            origin,
            "",
            f"{len(cohort.patients)} **simulated** patients, networks that learnt from {labels}; AUC is macro, one "
            "against the rest, out of fold. 95 % intervals are for other patients under the given networks; of a head "
            "with several seeds, of their mean.",
            f"Recall of {CLASS} is that of the most probable class, classes weighed in two ways ({rules}); neither "
            "bounds a model. A gain whose interval holds 0 is none.",
            "",
            *table_head(
                ["Model", "seeds", "AUC", "spread of the seeds", f"to {single.title}", "to the mean of logits"]
                + [f"recall, {rule}" for rule in RULES]
                + [f"recall, balanced, to {single.title}"]
                + [f"recall at {SPECIFICITY:.0%} specificity, to {single.title}"]
            ),
            table_row(["*exact posterior*", "", f"{figures['auc']:.3f}", "", "", "", *exact, "", ""]),
            *(table_row(row.cells(single, rows["late-logit"])) for row in rows.values()),
            "",
        ]
    )


def main() -> None:
    """Train what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="Folder with the baselines of all modalities.")
    parser.add_argument("--heads", nargs="+", default=HEADS, help="Trained heads.")
    parser.add_argument("--seeds", type=int, default=20, help="Seeds of each trained head.")
    options = parser.parse_args()
    members = [RunFolder(path) for path in sorted(options.runs.glob("baseline-*"))]
    cohort = open_run_cohort(members[0], None)
    kept = options.runs / "repeated_heads"
    predict_all(cohort, members, options.heads, options.seeds, kept)
    models = {m: [read_predictions(r.predictions)] for m, r in zip(cohort.modalities, members, strict=True)}
    models |= {head: [fuse_late(cohort, members, head, RunFolder(kept / head))] for head in LATE_HEADS}
    for head in options.heads:
        models[head] = [read_predictions(kept / f"{head}-{seed}.parquet") for seed in range(options.seeds)]
    write_text(
        PAGE, render(rows_of(models, cohort), cohort, labels_of(cohort, members[0]), describe_origin("torch", "timm"))
    )
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
