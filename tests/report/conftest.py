"""Run folders with made-up predictions: a seeded generator, so that a report needs neither torch nor training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import CLASSES, MODALITIES, draw_few, write_cohort

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.draws import draw_repeats, save_draws
from fusion_ln.cohort.head import Attainable, CohortDetails
from fusion_ln.files.formats import write_parquet
from fusion_ln.heads import UNASKED_HEADS
from fusion_ln.predictions import Predictions, predictions_from_logits, read_predictions, write_predictions
from fusion_ln.records.kinds import BaselineRecord, LateFusionRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.records.parts import FoldRecord, UnitCounts
from fusion_ln.report.kit import style
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import LateSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings
from fusion_ln.terms import INNER, LABEL, PATIENT

SKILL = {"2d": 1.0, "cdfi": 1.2, "elastic": 1.6}
FIT = FitSettings(epochs=8)
ORIGIN = new_origin() | {"command": "fusionln run fusion"}


def build_cohort(folder: Path, n: int = 30, *, simulated: bool = True, seed: int = 0, size: int = 24) -> Cohort:
    """A cohort of ``n`` patients in classes of 3 : 2 : 5, each with one noise picture per modality."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [n * 3 // 10, n * 2 // 10, n - n * 3 // 10 - n * 2 // 10])
    aucs = {"2d": 0.92, "cdfi": 0.90, "elastic": 0.94, "2d+cdfi+elastic": 0.98}
    attainable = {name: {"auc": auc} for name, auc in aucs.items()}
    ceilings = Attainable(tables=attainable, cohort=attainable)
    return write_cohort(
        folder,
        pd.DataFrame({PATIENT: [f"p{i:03d}" for i in range(n)], LABEL: labels, "site": "a"}),
        lambda label, modality: rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        name=f"phantom-{n}" if simulated else f"clinic-{n}",
        k=5,
        seed=seed,
        simulated=simulated,
        details=CohortDetails(attainable=ceilings) if simulated else None,
    )


class RunMaker:
    """Writes run folders of one cohort; the true class stands out from the noise by a modality's skill."""

    def __init__(self, cohort: Cohort, root: Path, seed: int = 0) -> None:
        self.cohort, self.root, self.seed, self.rng = cohort, root, seed, np.random.default_rng(seed)
        self.baselines: dict[str, RunFolder] = {}

    def baseline(self, modality: str, *, protocol: str = "nested", without: tuple[str, ...] = ()) -> RunFolder:
        """A finished baseline that predicts everyone but the patients in ``without``."""
        run = RunFolder(self.root / f"baseline-{modality}")
        settings = BaselineSettings(modality=modality, fit=FIT, protocol=protocol, seed=self.seed)
        skill = SKILL[modality]
        out = self._out_of_fold(without, skill)
        fold = {"seconds": 12.3, "pictures_per_second": 150.2, "epochs": 8, "best_epoch": 6, "precision": "32-true"}
        record = BaselineRecord(
            settings=settings,
            cohort=self.cohort.describe(),
            units=UnitCounts(predicted=len(out.table), skipped=len(without)),
            folds=tuple(FoldRecord(fold=number, **fold) for number in range(self.cohort.n_folds)),
            **ORIGIN,
        )
        self._write(run, record, out, self._inner(without, skill))
        write_parquet(run.history, self._history())
        self.baselines[modality] = run
        return run

    def fusion(self, head: str = "late-mean", *, gain: float = 0.0) -> RunFolder:
        """A finished fusion: the mean of the baselines' logits, the true class raised by ``gain``."""
        run = RunFolder(self.root / f"fusion-{head}")
        members = [read_predictions(r.predictions) for r in self.baselines.values()]
        logits = np.mean([m.logits for m in members], axis=0) + gain * np.eye(len(CLASSES))[members[0].labels]
        settings = LateSettings(head=head, members={m: r.read_record().settings for m, r in self.baselines.items()})
        first = members[0]
        out = predictions_from_logits(self.cohort.classes, first.patients, first.folds, first.labels, logits)
        weights = ({"weights": [0.2, 0.3, 0.5][: len(self.baselines)]},) * self.cohort.n_folds
        record = LateFusionRecord(
            settings=settings,
            cohort=self.cohort.describe(),
            members=tuple(f"../{r.name}" for r in self.baselines.values()),
            units=UnitCounts(predicted=len(out.table), skipped=0),
            learnt=weights if head == "late-weighted" else None,
            **ORIGIN,
        )
        self._write(run, record, out, self._inner((), 2.0))
        return run

    def _write(self, run: RunFolder, record: PredictionRecord, out: Predictions, inner: Predictions) -> None:
        run.write_record(record)
        write_predictions(run.inner_predictions, inner)
        write_predictions(run.predictions, out)

    def _out_of_fold(self, without: tuple[str, ...], skill: float) -> Predictions:
        rows = self.cohort.patients.merge(self.cohort.folds, on=PATIENT)
        rows = rows[~rows[PATIENT].isin(without)]
        return self._predictions(rows, rows["fold"].to_numpy(), skill)

    def _inner(self, without: tuple[str, ...], skill: float) -> Predictions:
        rows = self.cohort.patients.merge(self.cohort.folds, on=PATIENT)
        rows = rows[~rows[PATIENT].isin(without)]
        parts = []
        for fold in range(self.cohort.n_folds):
            chosen = rows[rows[f"{INNER}{fold}"]]
            parts.append(self._predictions(chosen, np.full(len(chosen), fold), skill).table)
        return Predictions(self.cohort.classes, pd.concat(parts, ignore_index=True))

    def _predictions(self, rows: pd.DataFrame, folds: np.ndarray, skill: float) -> Predictions:
        labels = rows[LABEL].to_numpy()
        logits = self.rng.normal(size=(len(rows), 3)) + skill * np.eye(3)[labels]
        logits[:, 1] -= 0.8  # the rarest class is the one that gets missed
        return predictions_from_logits(self.cohort.classes, rows[PATIENT].tolist(), folds, labels, logits)

    def _history(self) -> pd.DataFrame:
        epochs = np.arange(FIT.epochs)
        parts = []
        for fold in range(self.cohort.n_folds):
            noise = self.rng.normal(0, 0.02, (3, len(epochs)))
            parts.append(
                pd.DataFrame(
                    {
                        "fold": fold,
                        "epoch": epochs,
                        "train_loss": 1.1 * np.exp(-epochs / 5) + noise[0],
                        "val_loss": 0.6 + 0.5 * np.exp(-epochs / 3) + 0.01 * epochs + noise[1],
                        "val_auc": 0.85 - 0.3 * np.exp(-epochs / 2) + noise[2],
                        "lr": 0.003,
                        "seconds": 1.5,
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)


def build_seven(cohort: Cohort, root: Path, gain: float = -0.6) -> list[RunFolder]:
    """Three baselines and the four late fusions."""
    maker = RunMaker(cohort, root)
    baselines = [maker.baseline(modality) for modality in MODALITIES]
    return baselines + [maker.fusion(head, gain=gain + 0.05 * i) for i, head in enumerate(UNASKED_HEADS)]


@pytest.fixture(autouse=True, scope="module")
def coarse_pages() -> Iterator[None]:
    """Leave the files of figures beside a page empty, and draw few bootstrap samples for its intervals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "png_of", lambda figure, title: b"")
        draw_few(patch)
        yield


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return build_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def seven(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    return build_seven(cohort, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, RunFolder]:
    """A cohort that is not simulated, and a baseline of it."""
    folder = tmp_path_factory.mktemp("real")
    cohort = build_cohort(folder / "cohort", simulated=False)
    return cohort, RunMaker(cohort, folder).baseline("elastic")


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, list[RunFolder]]:
    """A cohort, and two seeds of three baselines and three fusions."""
    root, runs = tmp_path_factory.mktemp("seeded"), []
    cohort = build_cohort(root / "cohort", 60)
    for seed in (0, 1):
        maker = RunMaker(cohort, root / f"seed-{seed}", seed=seed)
        runs += [maker.baseline(modality) for modality in MODALITIES]
        runs += [maker.fusion("late-mean", gain=-0.6), maker.fusion("late-stacked", gain=-0.6)]
        runs.append(maker.fusion("concat", gain=0.2))
    return cohort, runs


@pytest.fixture(scope="session")
def of_nodes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, list[RunFolder]]:
    """A cohort of 60 nodes, two of each patient, and two baselines and a fusion of it."""
    folder, numbers = tmp_path_factory.mktemp("nodes"), np.arange(60)
    labels = np.where(numbers % 6 == 0, 0, numbers // 2 % 3)  # of some patients the nodes differ
    names = [f"p{number // 2:03d}::{number % 2}" for number in numbers]
    table, rng = pd.DataFrame({PATIENT: names, LABEL: labels, "site": "a"}), np.random.default_rng(0)
    cohort = write_cohort(folder / "cohort", table, lambda *_: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), k=3)
    maker = RunMaker(cohort, folder)
    return cohort, [maker.baseline("2d"), maker.baseline("elastic"), maker.fusion()]


@pytest.fixture
def maker(cohort: Cohort, tmp_path: Path) -> RunMaker:
    return RunMaker(cohort, tmp_path / "runs")


@pytest.fixture
def other_cohort(tmp_path: Path) -> Cohort:
    return build_cohort(tmp_path / "other", 40)


@pytest.fixture(scope="session")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Cohort, list[RunFolder]]]:
    """Two repeats of two baselines and their mean, each with folds of its own that hold out 5 of each class."""
    root, repeats = tmp_path_factory.mktemp("repeated"), []
    draws = draw_repeats(build_cohort(root / "cohort", 130), root / "runs", repeats=2, seed=0)
    save_draws(draws[1:])
    for draw in draws:
        maker = RunMaker(draw.cohort, draw.folder, seed=draw.seed)
        repeats.append((draw.cohort, [maker.baseline("2d"), maker.baseline("elastic"), maker.fusion("late-mean")]))
    return repeats
