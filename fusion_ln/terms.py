"""The one spelling of every word that is written to disk or typed by a user. Imports nothing heavy."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

# The triplet, in the order in which it is always shown.
MODALITIES = ("2d", "cdfi", "elastic")
MODALITY_TITLES = {"2d": "Grey scale (2D)", "cdfi": "Colour Doppler (CDFI)", "elastic": "Elastography"}
# Modalities whose hue is the measurement: never jittered, and suspicious when grey.
COLOUR_MODALITIES = frozenset({"cdfi", "elastic"})

# Columns of the cohort's tables and of the predictions.
PATIENT = "patient_id"
LABEL = "label"
SITE = "site"
FOLD = "fold"
IMAGE = "image_id"
MODALITY = "modality"
VIEW = "view"
MODALITIES_USED = "modalities"  # which pictures a prediction rests on, as in "2d+elastic"
PATH = "path"
WIDTH = "width"
HEIGHT = "height"
SHA256 = "sha256"
LOGIT = "logit_"  # + class name
PROB = "prob_"  # + class name
INNER = "inner_"  # + outer fold: is the patient part of that fold's inner validation set?

PAPER_BACKBONES = ("resnet152", "convnext_large", "efficientnet_b7", "vit_b_16")
RANDOM_MAPS = "random"  # attribution maps that know nothing, which a method has to beat
SIMULATED = "simulated"  # stands wherever something comes from a phantom cohort


def modality_title(modality: str) -> str:
    """What a person reads for ``modality``; the name itself where the cohort brings one of its own."""
    return MODALITY_TITLES.get(modality, modality)


def subsets(modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every non-empty subset of ``modalities`` under its name, singles first: ``2d``, ..., ``2d+cdfi``, ..."""
    sizes = range(1, len(modalities) + 1)
    return {"+".join(subset): subset for size in sizes for subset in combinations(modalities, size)}


def short_title(modality: str) -> str:
    """The title without what stands in brackets."""
    return modality_title(modality).partition(" (")[0]


def cache_folder() -> Path:
    """Where prepared pictures, default phantoms and weight files lie: ``FUSIONLN_CACHE`` or the user's cache."""
    if own := os.environ.get("FUSIONLN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusion_ln"
