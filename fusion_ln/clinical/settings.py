"""Settings of models of columns of a cohort's table: what is known of a patient without the pictures."""

from typing import Literal

from pydantic import Field

from fusion_ln.settings.base import LAST_SEED, Protocol, Settings
from fusion_ln.settings.fusion import LateSettings, TrainedFusionSettings
from fusion_ln.settings.training import BaselineSettings

ClinicalModel = Literal["logistic", "chance", "stacked"]


class ClinicalSettings(Settings):
    """A model of columns, of chance, or of columns and pictures.

    Attributes:
        model: ``logistic`` regression of the class on the columns, ``chance`` (class shares alone), or ``stacked``:
            the predictions of a run of pictures and those of the logistic regression.
        pictures: Settings of that run of pictures; None where the model reads none.
    """

    model: ClinicalModel
    columns: tuple[str, ...] = ()
    pictures: BaselineSettings | LateSettings | TrainedFusionSettings | None = None
    seed: int = Field(0, ge=0, le=LAST_SEED, description="Seed of the split that chooses the penalty.")

    @property
    def protocol(self) -> Protocol:
        """``paper`` if its run of pictures has that protocol."""
        return self.pictures.protocol if self.pictures else "nested"
