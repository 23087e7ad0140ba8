"""Attribution maps of a model that answers: the mean over the models of its folds, for one new patient."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.clinical import standardise
from fusion_ln.explain.methods import METHODS, fitting_methods
from fusion_ln.explain.network import Case, Explained
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.images.patients import PatientPictures

DEFAULT_METHODS = ("gradcam", "ig")  # a quick one, and the one whose shares add up to the answer

Maps = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class FrozenExplainer:
    """A model that answers, ready to be explained.

    Attributes:
        explained: Its folds' models, with readable gradients.
        fitting: Names of the `METHODS` that its networks allow.
    """

    explained: Sequence[Explained]
    fitting: Sequence[str]

    @classmethod
    def of(cls, model: FrozenModel) -> "FrozenExplainer":
        """Make the explainer of a model, with which it shares its weights."""
        explained = [Explained(each) for each in model.models]
        return cls(explained, fitting_methods(explained[0]))

    def maps(
        self, pictures: PatientPictures, patients: pd.DataFrame, target: int, methods: Sequence[str]
    ) -> Generator[None, None, Maps]:
        """Compute the maps of the only patient of ``pictures``, one model and method at a time.

        Args:
            pictures: Pictures of each modality that the model takes, in its order.
            patients: ``patient_id`` and clinical columns.
            target: Class to explain.
            methods: Some of ``fitting``.

        Yields:
            Nothing, between two steps, so that other work may come between them.

        Returns:
            By modality that the patient has, and method: evidence of each pixel. float32, shape (S, S).
        """
        sums: Maps = {}
        for each in self.explained:
            case = _case(each, pictures, patients, target)
            for name in methods:
                [found] = METHODS[name].quick(each, [case])
                for m in case.modalities:
                    held = sums.setdefault(each.modalities[m], {})
                    held[name] = held.get(name, np.float32(0)) + found[m].float().mean(0).cpu().numpy()
                yield
        n = len(self.explained)
        return {m: {name: total / n for name, total in held.items()} for m, held in sums.items()}


def _case(explained: Explained, pictures: PatientPictures, patients: pd.DataFrame, target: int) -> Case:
    batch = pictures.cut(np.arange(1)).with_clinical(standardise(patients, explained.model.columns))
    views, present, columns = batch.inputs(batch.modalities_present, torch.device("cpu"))
    return Case(tuple(views), present, target, columns)
