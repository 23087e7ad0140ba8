"""Late fusions of modalities that know all their picture shows: what does each rule lose against the posterior?

Question  What is there to gain by learning the dependence of the modalities, and what does calibration cost?
Command   python experiments/accuracy/exact_fusion.py
Time      one CPU minute
Expect    no rule at the posterior: the modalities share a finding, the node's shape, that a product counts three times
          (it writes benchmarks/exact_fusion.md)

No network: each modality's logits are the exact log-likelihoods of the findings that it shows.
"""

from pathlib import Path

import numpy as np
import torch

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.phantom.findings import attainable, posterior, tables
from fusion_ln.cohort.phantom.patients import draw_patients
from fusion_ln.evaluation.probabilities.recalibration import fit_logistic
from fusion_ln.files.formats import write_text
from fusion_ln.heads import LATE_HEADS, head_title
from fusion_ln.models.late.base import ModalityLogits, load_late_head
from fusion_ln.terms import LABEL

PAGE = Path(__file__).parents[1] / "benchmarks" / "exact_fusion.md"
PATIENTS, REPEATS = 60_000, 20
AT_PREVALENCE = ("late-stacked", "late-product")  # learnt on patients as they come; the others weigh classes equally
INNER = (29, 3000)  # patients who teach: inner validation of 240, and many


def draw(n: int, rng: np.random.Generator) -> tuple[ModalityLogits, np.ndarray, np.ndarray]:
    """Draw patients.

    Returns:
        Log-likelihoods by modality, labels (P,), and the posterior given all pictures (P, C).
    """
    patients, known = draw_patients(n, ["A"], rng), tables()
    alone = [np.log(posterior(patients, [modality]) / known.prevalence) for modality in known.modalities]
    present = torch.ones((n, len(alone)), dtype=torch.bool)
    logits = torch.from_numpy(np.stack(alone, axis=1))
    return ModalityLogits(logits, present), patients[LABEL].to_numpy(), posterior(patients, known.modalities)


def slopes(probs: np.ndarray, labels: np.ndarray) -> str:
    """Write the slope of the logit of each class: below 1, the probabilities are too sure."""
    found = []
    for c in range(probs.shape[1]):
        logit = np.log(probs[:, c].clip(1e-9) / (1 - probs[:, c]).clip(1e-9))
        design = np.stack([np.ones_like(logit), logit], axis=1)
        found.append(fit_logistic(design, labels == c, iter(()))[0, 1])
    return ", ".join(f"{slope:.2f}" for slope in found)


def row_of(name: str, probs: list[np.ndarray], labels: np.ndarray, n_taught: str) -> str:
    """Write a row: the mean of the AUCs of repeated lessons, and figures of the first."""
    aucs = [attainable(each, labels)["auc"] for each in probs]
    figures, spread = attainable(probs[0], labels), f"{np.std(aucs, ddof=1):.4f}" if len(aucs) > 1 else ""
    recalls = [f"{figures[f'{rule}_lymphoma']:.2f}" for rule in ("balanced_recall", "recall")]
    return table_row([name, n_taught, f"{np.mean(aucs):.4f}", spread, slopes(probs[0], labels), *recalls])


def main() -> None:
    """Fuse and write the page."""
    rng, prior = np.random.default_rng(0), tables().prevalence
    logits, labels, exact = draw(PATIENTS, rng)
    rows = [row_of("*posterior*", [exact], labels, "")]
    untaught = {"temperatures": [1.0] * len(tables().modalities), "log_prior": np.log(prior).tolist()}
    product = load_late_head("late-product").apply(logits, untaught).softmax(-1).numpy()
    rows.append(row_of("Product of experts, no temperatures", [product], labels, ""))
    for head in LATE_HEADS:
        late = load_late_head(head)
        for n in INNER if late.learn else (0,):
            probs = []
            for _ in range(REPEATS if n == INNER[0] else 1):
                taught = draw(n, rng)[:2] if n else None
                fused = late.apply(logits, late.learn(*taught) if late.learn and taught else {}).softmax(-1).numpy()
                joint = fused if head in AT_PREVALENCE else fused * prior
                probs.append(joint / joint.sum(axis=1, keepdims=True))
            rows.append(row_of(head_title(head), probs, labels, str(n) if n else ""))
    columns = ["rule", "taught by", "AUC", "spread", f"slopes: {', '.join(tables().classes)}"]
    lines = [
        "# Late fusions of modalities that know all their pictures show",
        "",
        describe_origin("torch"),
        "",
        f"{PATIENTS:,} **simulated** patients, no pictures and no networks: a modality's logits are the exact "
        "log-likelihoods of its findings. Those are independent given the class, but for the node's shape, which every "
        "modality shows: a product counts it three times. What remains between a rule and the posterior is what a head "
        "can gain that learns the dependence. Rules that learn were taught by so many patients; by "
        f"{INNER[0]} {REPEATS} times, where the spread is over these. All at the prevalence; recalls of lymphoma with "
        "classes weighed equally, and as they are.",
        "",
        *table_head([*columns, "recall, balanced", "recall, prevalence"]),
        *rows,
        "",
    ]
    write_text(PAGE, "\n".join(lines))
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
