"""fusion_ln on the patients and folds of `side_by_side.py`, in a process of its own.

Command: python ours.py PLAN.json, of which `side_by_side.py` says what it holds; it writes ``out``, a JSON.
A network per modality and fold, and the mean of their logits; a page of results is not written.
"""

import json
import sys
from pathlib import Path

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.compute.device import fits_at_once
from fusion_ln.predictions import read_predictions
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.run import run_baselines_and_fusions

SHARED = ("backbone", "image_size", "batch_size", "epochs", "lr", "precision")


def main() -> None:
    """Train and predict every fold."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    settings = FitSettings(**{key: plan[key] for key in SHARED})
    device = DeviceSettings(device="cpu")
    *baselines, fusion = run_baselines_and_fusions(
        load_cohort(Path(plan["cohort"])), plan["modalities"], {"late-logit": None}, settings, Path(plan["folder"]),
        protocol="nested", seed=0, device=device,
    )  # fmt: skip
    fits = [fold for run in baselines for fold in run.read_prediction_record().folds]
    predictions = read_predictions(fusion.predictions)
    found = {
        "pictures": sum(fit.pictures_per_second * fit.seconds for fit in fits),
        "seconds": sum(fit.seconds for fit in fits) / fits_at_once(device, len(fits)),
        "epochs": [fit.epochs for fit in fits],
        "precision": fits[0].precision,
        "predictions": {
            "patient_id": predictions.patients,
            **dict(zip(plan["classes"], predictions.probs.T.tolist(), strict=True)),
        },
    }
    Path(plan["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
