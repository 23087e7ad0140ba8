"""One spelling of every word that is written to disk or typed by a user; imports nothing heavy."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Modality:
    """A kind of ultrasound picture.

    Attributes:
        name: As in tables, in folders and on the command line.
        title: As in tables and headings of a report.
        short_title: As in figures.
        colour: Its colour in every figure, on a light and on a dark page.
        hue_is_measurement: Its colours are never augmented, and a grey picture of it is suspicious.
    """

    name: str
    title: str
    short_title: str
    colour: tuple[str, str]
    hue_is_measurement: bool


# One row per modality that the package knows, in the order in which they are shown; a cohort may bring others. The
# colours differ in lightness as well as in hue.
MODALITY_TABLE = (
    Modality("2d", "Grey scale (2D)", "Grey scale", ("#8590a0", "#c9d0da"), hue_is_measurement=False),
    Modality("cdfi", "Colour Doppler (CDFI)", "Colour Doppler", ("#c8590a", "#f2935a"), hue_is_measurement=True),
    Modality("elastic", "Elastography", "Elastography", ("#046c62", "#2fae9d"), hue_is_measurement=True),
)
KNOWN_MODALITIES = {modality.name: modality for modality in MODALITY_TABLE}
COLOUR_MODALITIES = frozenset(modality.name for modality in MODALITY_TABLE if modality.hue_is_measurement)
FLOW_MODALITIES = frozenset({"cdfi"})  # whose colour is flow

COHORT_HEAD = "cohort.toml"  # file that makes a folder a cohort
MODEL_RECORD = "model.json"  # file that makes a folder a model
RUN_RECORD = "run.json"  # file that makes a folder a run
PAGE_RECORD = "report.json"  # of a page: what it was written from
AUDIT_RECORD = "audit.json"
EXPLANATION_RECORD = "explanation.json"
EVALUATION_RECORD = "evaluation.json"
TABLE_ONE = "table1.html"  # page of a description of patients
# Columns of the cohort's tables and of the predictions.
PATIENT = "patient_id"
NODE = "node_id"  # unique in the cohort, whose unit it then is
LABEL = "label"
SITE = "site"
FOLD = "fold"
IMAGE = "image_id"
MODALITY = "modality"
VIEW = "view"
MODALITIES_USED = "modalities"  # of which a prediction saw pictures, as in "2d+elastic"
PATH = "path"
CINE = "cine"  # file of several frames that a picture was taken from; empty of others
FRAME = "frame"  # number of the frame in it, from 0
WIDTH = "width"
HEIGHT = "height"
CROP = ("crop_x", "crop_y", "crop_width", "crop_height")  # box of the picture in its file, in pixels
CROP_BY = "crop_by"  # how the box was found
MM_PER_PIXEL = "mm_per_pixel"
SHA256 = "sha256"
LOGIT = "logit_"  # + class name
PROB = "prob_"  # + class name
RAW = "raw_"  # + class name: probability before calibration
UNLIKE = "unlike"  # some picture is unlike all that the model learnt from
READER = "reader:"  # + name: a reader's calls; + name:class: ordered suspicion of it
INNER = "inner_"  # + outer fold: the patient is part of that fold's inner validation set
UNUSED = "unused_"  # + outer fold: the patient is left out of that fold's training, for a learning curve

# Columns of a cohort's tables that say who a patient is, where from, or what to predict: never an input of a model.
NOT_CLINICAL = frozenset(
    {PATIENT, LABEL, SITE, FOLD, IMAGE, MODALITY, VIEW, PATH, SHA256, MODALITIES_USED, "id", "class"}
)

NOT_MALIGNANT = frozenset({"benign", "normal"})  # classes that no operating point looks for
PAPER_BACKBONES = ("resnet152", "convnext_large", "efficientnet_b7", "vit_b_16")
RANDOM_MAPS = "random"  # attribution maps without information, which a method has to beat
UNLABELLED = "unlabelled"  # the only class of a cohort whose patients have no label
SIMULATED = "simulated"  # stands wherever something comes from a phantom cohort


def is_reader_column(column: str) -> bool:
    """Check for the name of a column of a reader's calls or suspicion."""
    return column.strip().casefold().startswith(READER)


def is_clinical(column: str) -> bool:
    """Check that a column's name is not that of the class, an id, the site, a fold, a prediction or a reader."""
    name = column.strip().casefold()
    return name not in NOT_CLINICAL and not name.endswith("_id") and not name.startswith((INNER, PROB, LOGIT, READER))


def modality_title(modality: str) -> str:
    """Return the title of a modality; its name where the cohort brings one of its own."""
    return KNOWN_MODALITIES[modality].title if modality in KNOWN_MODALITIES else modality


def short_title(modality: str) -> str:
    """Return the short title of a modality; its name where the cohort brings one of its own."""
    return KNOWN_MODALITIES[modality].short_title if modality in KNOWN_MODALITIES else modality


def severity(classes: Sequence[str]) -> list[int]:
    """Rank the classes from 0, the least severe: normal, benign, then the others in their order."""
    order = sorted(range(len(classes)), key=lambda c: (classes[c] != "normal", classes[c] not in NOT_MALIGNANT, c))
    return [order.index(c) for c in range(len(classes))]


def listed(names: Iterable[str]) -> str:
    """Join names as in "one, two and three"; at least one."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def subsets(modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """List every non-empty subset of ``modalities`` under its name, singles first: ``2d``, ..., ``2d+cdfi``, ..."""
    sizes = range(1, len(modalities) + 1)
    return {"+".join(subset): subset for size in sizes for subset in combinations(modalities, size)}


def cache_folder() -> Path:
    """Return the folder of prepared pictures, default phantoms and weights: ``FUSIONLN_CACHE`` or the user's cache."""
    if chosen := os.environ.get("FUSIONLN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fusion_ln"


def mark_commands(line: str) -> Markup:
    """Set what stands between backticks as code of a page; all else is escaped."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(line))))
