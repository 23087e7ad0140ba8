"""Settings of studies, a table of an experiment file."""

from typing import Literal

from pydantic import Field

from fusion_ln.settings.base import LAST_SEED, MOST, Settings

Scheme = Literal["pooled", "per-fold"]
SamplerName = Literal["tpe", "random"]
TRIALS = 40  # where no budget is given


class StudySettings(Settings):
    """Tuning of an experiment's settings; every study has the same budget."""

    scheme: Scheme | None = Field(
        None, description="One study for all outer folds, or one for each.  [default: baselines pooled, heads per-fold]"
    )
    trials: int | None = Field(None, ge=1, le=MOST, description=f"Finished trials of each study.  [default: {TRIALS}]")
    seconds: float | None = Field(None, gt=0, le=1e9, description="Seconds of computing of each study.")
    objectives: tuple[str, ...] = Field(
        ("auc",),
        min_length=1,
        description="auc, loss, recall:CLASS, seconds. With several nothing is pruned.  [default: auc]",
    )
    sampler: SamplerName = Field("tpe", description="Sampler of the trials.")
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of the sampler.")
