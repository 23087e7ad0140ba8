import os
import signal

import pytest
import torch
from tiny import handled
from torch import nn

from fusion_ln.errors import RunError
from fusion_ln.training.state import Epoch, FitState, Pace, termination_held_back


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def make_state(folder, seconds=0.0, clock=None):
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters())
    return FitState(folder, {"name": "2d"}, model, optimizer, None, Pace(seconds, clock or Clock()))


def add_epoch(state, history, loss):
    """Let an epoch pass, after which the weight is the number of epochs."""
    nn.init.constant_(state.model.weight, len(history) + 1)
    history.append(Epoch(len(history), loss, loss, 0.5, 0.1, 8, 1.0))
    return history


def test_a_state_is_written_once_its_seconds_have_passed_since_the_last_one(tmp_path):
    clock, written, history = Clock(), [], []
    state = make_state(tmp_path, 30.0, clock)
    for clock.now in (110.0, 129.9, 130.0, 140.0, 159.9, 161.0, 190.9):
        state.last_file.unlink(missing_ok=True)
        state.keep(add_epoch(state, history, loss=1.0))
        written.append(state.last_file.exists())
    assert written == [False, False, True, False, False, True, False]


def test_the_best_weights_are_held_and_written_once_however_many_states_follow(tmp_path):
    state, history = make_state(tmp_path), []
    state.keep(add_epoch(state, history, loss=0.5))
    first = state.best_file.stat().st_ino
    state.keep(add_epoch(state, history, loss=0.7))
    assert state.best_file.stat().st_ino == first
    assert state.best_weights(history)["weight"].item() == 1
    state.keep(add_epoch(state, history, loss=0.4))
    assert state.best_file.stat().st_ino != first
    assert state.best_weights(history)["weight"].item() == 3


def test_nothing_is_written_twice_for_one_epoch(tmp_path):
    state, history = make_state(tmp_path), []
    state.keep(add_epoch(state, history, loss=0.5))
    written = state.last_file.stat().st_ino
    state.write(history)
    assert state.last_file.stat().st_ino == written


def test_a_fit_killed_between_its_two_files_goes_on_from_the_older_one(tmp_path):
    """Its best weights are those of an epoch that comes again; one that does not is told of."""
    state, history = make_state(tmp_path), []
    state.keep(add_epoch(state, history, loss=0.5))
    older = state.last_file.read_bytes()
    for loss in (0.6, 0.4):
        state.keep(add_epoch(state, history, loss))
    state.last_file.write_bytes(older)
    again = make_state(tmp_path)
    found = again.resume()
    assert [epoch.val_loss for epoch in found] == [0.5]
    with pytest.raises(RunError, match=r"epoch 3 was the best one before .*\n.*starts anew"):
        again.best_weights(found)
    for loss in (0.6, 0.4):
        again.keep(add_epoch(again, found, loss))
    assert again.best_weights(found)["weight"].item() == 3


def test_sigterm_is_heard_between_two_epochs_and_let_through_at_the_end():
    came = []
    with handled(signal.SIGTERM, lambda number, frame: came.append(number)):
        with termination_held_back() as asked_to_end:
            assert not asked_to_end()
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked_to_end()
            assert came == []
        assert came == [signal.SIGTERM]
