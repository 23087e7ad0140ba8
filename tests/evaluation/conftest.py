"""The made-up cohort of 586 patients that R was run on, and what R says of it."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fusion_ln.predictions import Predictions

REFERENCE = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared")) / "reference"
CLASSES = ("benign", "lymphoma", "metastatic")


@pytest.fixture(scope="session")
def r_figures() -> dict[str, Any]:
    return json.loads(_reference("two_models_586.r.json").read_text())


@pytest.fixture(scope="session")
def r_models() -> tuple[Predictions, Predictions]:
    """Models a and b; their file has no logits."""
    table = pd.read_csv(_reference("two_models_586.csv"))

    def model(prefix: str) -> Predictions:
        probs = table[[f"{prefix}_{c}" for c in CLASSES]].set_axis([f"prob_{c}" for c in CLASSES], axis=1)
        return Predictions(CLASSES, pd.concat([table[["patient_id", "label"]].assign(fold=0), probs], axis=1))

    return model("a"), model("b")


def _reference(name: str) -> Path:
    if not (REFERENCE / name).is_file():
        pytest.skip(f"{REFERENCE / name} is not there; set FUSIONLN_SHARED")
    return REFERENCE / name
