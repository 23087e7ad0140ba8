"""The model's room: one model, loaded once, one queue, one thread that answers what waits as a batch."""

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fusion_ln.errors import FusionLNError
from fusion_ln.frozen.answer import ANSWERED_AT_ONCE
from fusion_ln.images.bank import ImageBank
from fusion_ln.predict.predictor import Predictor
from fusion_ln.predict.present import as_json
from fusion_ln.terms import PATIENT

WAIT = 0.004  # seconds that the first of a batch waits for others

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


Waiting = tuple[Question, "Future[PatientAnswer]"]


class ModelRoom:
    """A model that answers questions in the order in which they come, those that wait together as one batch."""

    def __init__(self, predictor: Predictor, places: int) -> None:
        self.predictor = predictor
        self._queue: queue.Queue[Waiting | None] = queue.Queue(places)
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of questions that wait."""
        return self._queue.qsize()

    def ask(self, question: Question) -> "Future[PatientAnswer]":
        """Queue a question; its answer is what `as_json` makes of one patient.

        Raises:
            RoomFullError: If no place is free.
        """
        future: Future[PatientAnswer] = Future()
        try:
            self._queue.put_nowait((question, future))
        except queue.Full:
            raise RoomFullError from None
        return future

    def close(self) -> None:
        """Answer what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch, last = self._collect()
            if batch:
                self._answer(batch)
            if last:
                return

    def _collect(self) -> tuple[list[Waiting], bool]:
        """Wait for a question and for those that come within `WAIT`; also whether the room closes."""
        batch: list[Waiting] = []
        until = float("inf")
        while len(batch) < ANSWERED_AT_ONCE:
            try:
                held = self._queue.get(timeout=None if not batch else max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if held is None:
                return batch, True
            if held[1].set_running_or_notify_cancel():
                batch.append(held)
                until = min(until, time.monotonic() + WAIT)
        return batch, False

    def _answer(self, batch: list[Waiting]) -> None:
        """Answer a batch; where it fails as a whole, each question by itself, so that none spoils another's."""
        try:
            answers = self._ask_model([question for question, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for each in batch:
                self._answer([each])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)

    def _ask_model(self, questions: list[Question]) -> list[PatientAnswer]:
        names = [f"{number:04d}" for number in range(len(questions))]
        banks = {}
        for modality in self.predictor.model.modalities:
            owners = [name for name, q in zip(names, questions, strict=True) if modality in q.pictures]
            if owners:
                pixels = np.stack([q.pictures[modality] for q in questions if modality in q.pictures])
                banks[modality] = ImageBank(pixels, np.array(owners), np.zeros(len(owners), dtype=np.int64))
        patients = pd.DataFrame([{PATIENT: name, **q.clinical} for name, q in zip(names, questions, strict=True)])
        answers = as_json(self.predictor, self.predictor.predict_prepared(banks, patients))
        if len(answers) != len(questions):
            raise FusionLNError("A question without a picture that the model takes.", "Give at least one picture.")
        return [{key: value for key, value in answer.items() if key != PATIENT} for answer in answers]
