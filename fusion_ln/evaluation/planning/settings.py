"""Settings of a plan: the precision and the gain that a study is to have, and what is assumed of its models."""

from pydantic import Field

from fusion_ln.settings.base import Settings


class PlanSettings(Settings):
    """Targets of a study to come and, where no run tells them, assumptions on its models."""

    width: float = Field(0.1, gt=0, lt=1, description="Width of the 95 % intervals, from end to end.")
    power: float | None = Field(
        None, gt=0, lt=1, description="Chance to find the gain (p < 0.05, two-sided).  [default: 0.8]"
    )
    gain: float | None = Field(
        None, gt=0, lt=0.5, description="Smallest gain in AUC worth finding.  [default: that of the two models]"
    )
    auc: float | None = Field(None, gt=0.5, lt=1, description="Assumed AUC of the model.")
    other_auc: float | None = Field(None, gt=0.5, lt=1, description="Assumed AUC of the model it is compared with.")
    correlation: float | None = Field(
        None, ge=0, lt=1, description="Assumed correlation of their AUCs over samples of patients.  [default: 0.5]"
    )
    sensitivity: float | None = Field(None, gt=0, lt=1, description="Assumed sensitivity for the class.")
    share: float | None = Field(
        None, gt=0, lt=1, description="Assumed share of the class among the patients.  [default: 0.3]"
    )
