"""A model card in the layout of Hugging Face: metadata that its hub reads, then the text for people."""

import json

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.escape import code_span, markdown
from fusion_ln.report.kit.style import number, spread
from fusion_ln.report.run import text as words
from fusion_ln.report.run.results import Results
from fusion_ln.terms import SIMULATED, modality_title

# Metric, its name on the hub, its title.
REPORTED = (
    (PRIMARY, "roc_auc", "AUC, one vs rest"),
    ("accuracy", "accuracy", "Accuracy"),
    ("f1", "f1", "F1, mean over classes"),
    ("mcc", "matthews_correlation", "MCC"),
    ("brier", "brier_score", "Brier score"),
)


def model_card(results: Results) -> str:
    """Write the card of the report's main model, as Markdown under a YAML head; gaps are left to its author."""
    environment = Environment(
        loader=PackageLoader("fusion_ln.report"), undefined=StrictUndefined, trim_blocks=True, finalize=markdown
    )
    environment.filters |= {"number": number, "code": code_span}
    return environment.get_template("model_card.md").render(
        head=Markup(_yaml(_metadata(results))),
        results=results,
        cohort=results.cohort,
        main=results.main,
        words=words,
        spread=spread,
        author=words.AUTHOR,
        reads=[modality_title(m) for m in results.main.modalities],
        metrics=REPORTED,
    )


def _metadata(results: Results) -> dict[str, object]:
    main, cohort = results.main, results.cohort
    metrics = [
        {"type": hub_name, "name": title, "value": round(float(results.interval(main, metric).value), 4)}
        for metric, hub_name, title in REPORTED
    ]
    simulated = [SIMULATED] if cohort.simulated else []
    return {
        "library_name": "fusion_ln",
        "pipeline_tag": "image-classification",
        "tags": ["ultrasound", "medical-imaging", *cohort.modalities, *simulated],
        "model-index": [
            {
                "name": main.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"type": cohort.name, "name": cohort.name, "split": "out-of-fold"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _yaml(metadata: dict[str, object]) -> str:
    """Write metadata as YAML, a key a line; JSON is YAML."""
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items())
