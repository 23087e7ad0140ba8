"""A frozen model that nothing was trained for: random weights, calibrations, scores and moments."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.frozen.moments import Known
from fusion_ln.frozen.record import ModelRecord, StoredCalibration, Study
from fusion_ln.frozen.unlike import learn_moments
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
) -> FrozenModel:
    """Build a frozen model of ``n_models`` folds, or the refit of two."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    n, fit = len(CLASSES), FitSettings(backbone=backbone, image_size=side, head_width=8)
    settings = None if head.startswith("late") else HeadSettings(head=head, width=16, grid=1)
    weights = rng.dirichlet(np.ones(len(modalities))).tolist()
    stack, intercept = rng.normal(size=(n, n * len(modalities))).tolist(), rng.normal(size=n).tolist()
    learnt = {
        "late-weighted": {"weights": weights},
        "late-stacked": {"coefficients": stack, "intercept": intercept},
    }.get(head)
    models, moments = [], []
    for _ in range(n_models):
        members = {m: build_classifier(fit, n, weights="scratch") for m in modalities}
        fusion: torch.nn.Module = LateFusion(head, learnt)
        if settings:
            width = members[modalities[0]].backbone.n_token_features
            fusion = HeadEnsemble(settings, TripletShape(len(modalities), width, n))
            for parameter in fusion.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
        models.append(TripletModel(members, fusion, dict.fromkeys(modalities, side), grid=1).eval())
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
