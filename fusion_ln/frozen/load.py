"""Models that answer: the frozen one of a folder, or a study's, frozen in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import pandas as pd

from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import ModelError, RunError
from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.record import ALL_PATIENTS, FREEZE_AGAIN, ModelRecord
from fusion_ln.frozen.unlike import Known, read_moments
from fusion_ln.models.fold_model import FoldModel
from fusion_ln.progress import say
from fusion_ln.runs import RunFolder
from fusion_ln.terms import FOLD, LABEL, MODALITIES_USED

if TYPE_CHECKING:
    from fusion_ln.models.triplet import TripletModel

SCORE = "score"


class Deferred(Sequence["TripletModel"]):
    """Models that are loaded when one of them is first asked for: an answer from graphs asks for none."""

    def __init__(self, load: "Callable[[], list[TripletModel]]", number: int) -> None:
        self._load = load
        self._number = number

    @cached_property
    def _loaded(self) -> "list[TripletModel]":
        return self._load()

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> "Iterator[TripletModel]":
        return iter(self._loaded)

    @overload
    def __getitem__(self, place: int) -> "TripletModel": ...
    @overload
    def __getitem__(self, place: slice) -> "list[TripletModel]": ...
    def __getitem__(self, place: int | slice) -> "TripletModel | list[TripletModel]":
        return self._loaded[place]


@dataclass(frozen=True)
class FrozenModel:
    """A model that answers.

    Attributes:
        root: Its folder; of a study frozen in memory, the run.
        record: Its description.
        models: One per fold of its study or, of a refit, one; in evaluation mode on the CPU.
        scores: Out-of-fold scores by subset of the modalities; under `ALL_PATIENTS` those of all patients.
        known: What the models are used to; None in memory.
        digest: Names the folder's content; None in memory.
        graphs: What computes in place of the models, one each; empty: torch computes them.
    """

    root: Path
    record: ModelRecord
    models: "Sequence[TripletModel]"
    scores: Mapping[str, FoldScores]
    known: Known | None = None
    digest: str | None = None
    graphs: Sequence[FoldModel] = ()

    @property
    def modalities(self) -> list[str]:
        return list(self.record.modalities)

    @cached_property
    def folds(self) -> Sequence[FoldModel]:
        """What computes the answer of each model."""
        if self.graphs:
            return self.graphs
        from fusion_ln.models.torch_fold import TorchFold

        return [TorchFold(model) for model in self.models]

    @property
    def clinical(self) -> list[str]:
        """Clinical columns that the models take besides pictures."""
        return [column.name for column in self.folds[0].columns]

    def scores_of(self, subset: str) -> FoldScores:
        """Return the scores of the model from these modalities, named as in ``2d+elastic``."""
        return self.scores.get(subset, self.scores[ALL_PATIENTS])


def load_model(root: Path) -> FrozenModel:
    """Load a model's folder or, in its place, a finished run, which is frozen in memory.

    Raises:
        ModelError, RunError: See `open_model`; or if a checkpoint is not what the record describes.
    """
    model = open_model(root)
    _ = model.models[0]
    return model


def open_model(root: Path) -> FrozenModel:
    """Open a model as `load_model` does, but leave the models of a folder to whoever asks for them.

    Raises:
        ModelError: If the folder was changed since it was frozen, or nothing can be learnt about the run's mean.
        RunError: If ``root`` is neither, or see `load_run`.
    """
    folder = ModelFolder(root)
    if not folder.record.is_file():
        if root.is_dir() and not RunFolder(root).record.is_file():
            raise RunError(
                f"{root}: holds neither a model (model.json) nor a run (run.json).",
                "Make a run with `fusionln run fusion`, and a model of it with `fusionln freeze RUN --out MODEL`.",
            )
        return freeze_in_memory(RunFolder(root))
    digest = folder.check_digest()
    record = folder.read_record()

    def load() -> "list[TripletModel]":
        from fusion_ln.frozen.networks import load_networks

        return load_networks(folder, record)

    number = len(record.numbers)
    known = Known(read_moments(folder.moments, number, list(record.modalities)), record.farthest)
    scores = read_scores(folder.scores, len(record.classes))
    return FrozenModel(root, record, Deferred(load, number), scores, known, digest)


def freeze_in_memory(run: RunFolder) -> FrozenModel:
    """Make the model that a run would be frozen to.

    Raises:
        ModelError, RunError: See `load_model`.
    """
    from fusion_ln.frozen.study import record_model
    from fusion_ln.models.triplet import load_run
    from fusion_ln.models.undrawn import Undrawn

    with Undrawn():
        trained = load_run(run)
    record, scores = record_model(trained)
    say(
        f"{run.root}: a run, so its answers are calibrated now and pictures unlike its own are not found; `fusionln "
        "freeze` keeps a model once and for all."
    )
    return FrozenModel(run.root, record, trained.models, scores)


def scores_table(scores: Mapping[str, FoldScores]) -> pd.DataFrame:
    """Join the scores of all subsets: ``modalities, fold, label, score``."""
    columns = [
        pd.DataFrame({MODALITIES_USED: subset, FOLD: part.folds, LABEL: part.labels, SCORE: part.scores})
        for subset, part in scores.items()
    ]
    return pd.concat(columns, ignore_index=True)


def read_scores(path: Path, n_classes: int) -> dict[str, FoldScores]:
    """Read the out-of-fold scores by subset of the modalities."""
    table = read_stored_table(
        path, FREEZE_AGAIN, {MODALITIES_USED: "text", FOLD: "whole", LABEL: "whole", SCORE: "number"}
    )
    if ALL_PATIENTS not in set(table[MODALITIES_USED]):
        raise ModelError(f"{path}: lacks the scores of all patients.", FREEZE_AGAIN)
    if not (known := table[LABEL].isin(range(n_classes))).all():
        raise ModelError(
            f"{path}: label {table.loc[~known, LABEL].iloc[0]}; expected 0..{n_classes - 1}.", FREEZE_AGAIN
        )
    return {
        str(subset): FoldScores(part[FOLD].to_numpy(), part[LABEL].to_numpy(), part[SCORE].to_numpy())
        for subset, part in table.groupby(MODALITIES_USED, sort=False)
    }
