"""A frozen model that nothing was trained for: random weights, calibrations, scores and moments."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fusion_ln.cohort.clinical import ClinicalColumn
from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.record import ModelRecord, StoredCalibration, Study
from fusion_ln.frozen.unlike import Known, learn_moments
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.triplet import LateFusion, TripletModel
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings

CLASSES = ("benign", "lymphoma", "metastatic")
MODALITIES = ("2d", "cdfi", "elastic")
SIDE = 32


def random_model(
    head: str,
    backbone: str = "test_resnet",
    *,
    n_models: int = 1,
    modalities: Sequence[str] = MODALITIES,
    side: int = SIDE,
    settings: HeadSettings | None = None,
) -> FrozenModel:
    """Build a frozen model of ``n_models`` folds, or the refit of two; ``settings`` of a trained head other than plain.

    Clinical columns hold numbers; tokens before fine-tuning come from other random networks.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    n, fit = len(CLASSES), FitSettings(backbone=backbone, image_size=side, head_width=8)
    if settings is None and not head.startswith("late"):
        settings = HeadSettings(head=head, width=16, grid=1)
    columns = [
        ClinicalColumn(name=name, kinds=None, mean=50, spread=9) for name in (settings.clinical if settings else ())
    ]
    weights = rng.dirichlet(np.ones(len(modalities))).tolist()
    stack, intercept = rng.normal(size=(n, n * len(modalities))).tolist(), rng.normal(size=n).tolist()
    learnt = {
        "late-weighted": {"weights": weights},
        "late-stacked": {"coefficients": stack, "intercept": intercept},
    }.get(head)
    sources = {}
    if settings and settings.tokens == "pretrained":
        sources = {m: build_classifier(fit, n, weights="scratch").backbone for m in modalities}
    models, moments = [], []
    for _ in range(n_models):
        members = {m: build_classifier(fit, n, weights="scratch") for m in modalities}
        fusion: torch.nn.Module = LateFusion(head, learnt)
        if settings:
            width = members[modalities[0]].backbone.n_token_features
            fusion = HeadEnsemble(settings, TripletShape(len(modalities), width, n, len(columns)))
            for parameter in fusion.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
        sides = dict.fromkeys(modalities, side)
        models.append(TripletModel(members, fusion, sides, grid=1, sources=sources, columns=columns).eval())
        width = members[modalities[0]].backbone.n_features
        moments.append({m: learn_moments(rng.normal(size=(20, width)), np.arange(20) % n) for m in modalities})

    def calibration(slope: float) -> StoredCalibration:
        return StoredCalibration(
            slope=slope, offsets=tuple(rng.normal(size=n) / 3), shares=(0.5, 0.3, 0.2), patients=20
        )

    def scores(patients: int) -> FoldScores:
        return FoldScores(rng.integers(0, n_models, patients), rng.integers(0, n, patients), rng.random(patients))

    whole = "+".join(modalities)
    record = ModelRecord(
        answer="ensemble" if n_models > 1 else "refit",
        title="Random",
        classes=CLASSES,
        modalities=dict.fromkeys(modalities, side),
        late_head=None if settings else head,
        learnt=(learnt,) * n_models if learnt else None,
        head=(settings,) * n_models if settings else None,
        calibration={modalities[0]: calibration(0.7), whole: calibration(1.3)},
        pooled=calibration(1.1),
        study=Study(
            cohort="none",
            simulated=True,
            patients=dict.fromkeys(CLASSES, 9),
            n_folds=max(n_models, 2),
            fingerprint="",
            folds="",
            protocol="nested",
        ),
        farthest=1.5,
        licence="MIT",
        frozen="2026-11-26",
        versions={},
    )
    known = Known(moments, record.farthest)
    return FrozenModel(Path("model"), record, models, {"": scores(30), whole: scores(20)}, known, "d" * 64)
