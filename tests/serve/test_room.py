"""The model's room: questions before explanations, bounds, and cancelled work."""

import threading

import numpy as np
import pytest

from fusion_ln.serve.room import ModelRoom, Question, RoomFullError

BLACK = Question({"2d": np.zeros((3, 32, 32), np.uint8)})


@pytest.fixture
def room(monkeypatch):
    """A room whose model answers at once, and explains in three steps, each of which waits for leave."""
    done, leave = [], threading.Semaphore(0)

    def answer(self, questions):
        done.append("answer")
        return [{} for _ in questions]

    def explain(self, question, methods):
        for number in range(3):
            assert leave.acquire(timeout=60)
            done.append(f"step {number}")
            yield
        return methods

    monkeypatch.setattr(ModelRoom, "_ask_model", answer)
    monkeypatch.setattr(ModelRoom, "_explain", explain)
    room = ModelRoom(None, places=3)
    room.done, room.leave = done, leave
    yield room
    leave.release(99)
    room.close()


def test_a_question_overtakes_an_explanation_between_its_steps(room):
    explanation = room.explain(BLACK, ["gradcam"])
    room.leave.release()
    while room.done != ["step 0"]:
        threading.Event().wait(0.001)
    question = room.ask(BLACK)
    room.leave.release()
    assert question.result(60) == {}
    room.leave.release(9)
    assert explanation.result(60) == ["gradcam"]
    assert room.done == ["step 0", "step 1", "answer", "step 2"]


def test_places_are_bounded_and_a_cancelled_explanation_frees_its_own(room):
    first = room.explain(BLACK, ["a"])
    while room.waiting:
        threading.Event().wait(0.001)
    rest = [room.explain(BLACK, ["b"]) for _ in range(3)]
    with pytest.raises(RoomFullError):
        room.ask(BLACK)
    assert all(each.cancel() for each in (first, *rest[:2]))
    room.leave.release(9)
    assert rest[2].result(60) == ["b"]
    assert room.done.count("step 2") == 1


def test_a_failure_reaches_only_its_own_question(room, monkeypatch):
    def answer(self, questions):
        if any(question.clinical for question in questions):
            raise ValueError("bad")
        return [{"fine": True} for _ in questions]

    monkeypatch.setattr(ModelRoom, "_ask_model", answer)
    asked = [room.ask(BLACK), room.ask(Question(BLACK.pictures, {"age": "x"}))]
    assert asked[0].result(60) == {"fine": True}
    assert isinstance(asked[1].exception(60), ValueError)
