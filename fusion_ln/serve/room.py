"""The model's room: one model, loaded once, one queue, one thread; what waits is answered as a batch."""

import itertools
import queue
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from fusion_ln.errors import FusionLNError
from fusion_ln.explain.frozen import FrozenExplainer, Maps
from fusion_ln.frozen.answer import ANSWERED_AT_ONCE
from fusion_ln.images.bank import ImageBank
from fusion_ln.predict.predictor import Predictor
from fusion_ln.predict.present import as_json
from fusion_ln.terms import PATIENT

WAIT = 0.004  # seconds that the first of a batch waits for others
FIRST, LATER, LAST = range(3)  # priorities: questions, explanations, the end

PatientAnswer = dict[str, object]


class RoomFullError(Exception):
    """Every place of the queue is taken."""


@dataclass(frozen=True)
class Question:
    """A patient to answer for.

    Attributes:
        pictures: Prepared picture by modality, uint8 (3, S, S); at least one.
        clinical: Value by clinical column.
    """

    pictures: Mapping[str, np.ndarray]
    clinical: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PatientExplanation:
    """An explanation.

    Attributes:
        target: The likeliest class, which is explained.
        maps: Evidence of each pixel for it, by modality and method.
    """

    target: str
    maps: Maps


@dataclass(frozen=True)
class _Asked:
    question: Question
    future: "Future[PatientAnswer]"


@dataclass(frozen=True)
class _Explaining:
    steps: Generator[None, None, PatientExplanation]
    future: "Future[PatientExplanation]"


_Place = tuple[int, int, _Asked | _Explaining | None]  # priority, number, work; None: the room closes


class ModelRoom:
    """A model that answers questions in the order in which they come, those that wait together as one batch.

    Explanations are worked on step by step while no question waits.
    """

    def __init__(self, predictor: Predictor, places: int) -> None:
        self.predictor = predictor
        self._places = places
        self._numbers = itertools.count()
        self._queue: queue.PriorityQueue[_Place] = queue.PriorityQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @cached_property
    def explainer(self) -> FrozenExplainer:
        """The model's copies with readable gradients."""
        return FrozenExplainer.of(self.predictor.model)

    @property
    def waiting(self) -> int:
        """Number of questions and explanations that wait."""
        return self._queue.qsize()

    def warm_up(self) -> None:
        """Answer a black picture and get ready to explain, so that the first question waits no longer than others."""
        modality, side = next(iter(self.predictor.model.record.modalities.items()))
        self.ask(Question({modality: np.zeros((3, side, side), np.uint8)})).result()
        _ = self.explainer

    def ask(self, question: Question) -> "Future[PatientAnswer]":
        """Queue a question; its answer is what `as_json` makes of one patient.

        Raises:
            RoomFullError: If no place is free.
        """
        future: Future[PatientAnswer] = Future()
        self._put(FIRST, _Asked(question, future))
        return future

    def explain(self, question: Question, methods: Sequence[str]) -> "Future[PatientExplanation]":
        """Queue an explanation, which any question overtakes.

        Raises:
            RoomFullError: If no place is free.
        """
        future: Future[PatientExplanation] = Future()
        self._put(LATER, _Explaining(self._explain(question, methods), future))
        return future

    def close(self) -> None:
        """Answer what waits, then end."""
        self._queue.put((LAST, next(self._numbers), None))
        self._thread.join()

    def _put(self, priority: int, work: _Asked | _Explaining) -> None:
        if self._queue.qsize() >= self._places:
            raise RoomFullError
        self._queue.put((priority, next(self._numbers), work))

    def _work(self) -> None:
        while True:
            batch, other = self._collect()
            if batch:
                self._answer(batch)
            if other is None:
                continue
            if other[2] is None:
                return
            assert isinstance(other[2], _Explaining)
            if self._step(other[2]):
                self._queue.put(other)  # under its number: before those that came later

    def _collect(self) -> tuple[list[_Asked], _Place | None]:
        """Wait for work: questions that come within `WAIT` of the first, and what else came to hand."""
        batch: list[_Asked] = []
        until = float("inf")
        while len(batch) < ANSWERED_AT_ONCE:
            try:
                place = self._queue.get(timeout=None if not batch else max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if not isinstance(place[2], _Asked):
                return batch, place
            if place[2].future.set_running_or_notify_cancel():
                batch.append(place[2])
                until = min(until, time.monotonic() + WAIT)
        return batch, None

    def _answer(self, batch: list[_Asked]) -> None:
        """Answer a batch; where it fails as a whole, each question by itself, so that none spoils another's."""
        try:
            answers = self._ask_model([each.question for each in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for each in batch:
                self._answer([each])
            return
        for each, answer in zip(batch, answers, strict=True):
            each.future.set_result(answer)

    @staticmethod
    def _step(work: _Explaining) -> bool:
        """Take a step of an explanation that is still waited for; returns whether more are to come."""
        if work.future.cancelled():
            work.steps.close()
            return False
        try:
            next(work.steps)
        except StopIteration as end:
            if work.future.set_running_or_notify_cancel():
                work.future.set_result(end.value)
            return False
        except Exception as error:
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(error)
            return False
        return True

    def _ask_model(self, questions: Sequence[Question]) -> list[PatientAnswer]:
        answers = as_json(self.predictor, self.predictor.predict_prepared(*_patients_of(questions)))
        if len(answers) != len(questions):
            raise FusionLNError("A question without a picture that the model takes.", "Give at least one picture.")
        return [{key: value for key, value in answer.items() if key != PATIENT} for answer in answers]

    def _explain(self, question: Question, methods: Sequence[str]) -> Generator[None, None, PatientExplanation]:
        """Explain the likeliest class, step by step."""
        banks, patients = _patients_of([question])
        target = int(self.predictor.predict_prepared(banks, patients).probs[0].argmax())
        yield
        maps = yield from self.explainer.maps(self.predictor.gather(banks), patients, target, methods)
        return PatientExplanation(self.predictor.model.record.classes[target], maps)


def _patients_of(questions: Sequence[Question]) -> tuple[dict[str, ImageBank], pd.DataFrame]:
    """Gather the pictures of several questions by modality, and their clinical values in a table."""
    names = [f"{number:04d}" for number in range(len(questions))]
    banks = {}
    for modality in dict.fromkeys(m for question in questions for m in question.pictures):
        owners = [name for name, q in zip(names, questions, strict=True) if modality in q.pictures]
        pixels = np.stack([q.pictures[modality] for q in questions if modality in q.pictures])
        banks[modality] = ImageBank(pixels, np.array(owners), np.zeros(len(owners), dtype=np.int64))
    patients = pd.DataFrame([{PATIENT: name, **q.clinical} for name, q in zip(names, questions, strict=True)])
    return banks, patients
