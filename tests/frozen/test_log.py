"""The log of evaluations: no look is lost, by whatever it was stopped, and none is counted that nobody had."""

import pytest

from fusion_ln.files.formats import write_json
from fusion_ln.frozen.folder import LOG
from fusion_ln.frozen.log import LogEntry, earlier_looks, entered, hash_place, read_log, take_over


@pytest.fixture
def entry(tmp_path):
    place = hash_place(tmp_path / "out")
    return LogEntry(date="2026-01-02", digest=None, cohort="c", fingerprint="f", patients=9, labels=True, place=place)


def test_an_evaluation_is_entered_before_its_figures_are_written(entry, tmp_path):
    with entered(tmp_path, entry):
        assert read_log(tmp_path) == [entry.model_copy(update={"finished": False})]
    assert read_log(tmp_path) == [entry]


def test_an_error_takes_the_entry_back(entry, tmp_path):
    with entered(tmp_path, entry.model_copy(update={"place": "other"})):
        pass
    with pytest.raises(KeyboardInterrupt), entered(tmp_path, entry):
        raise KeyboardInterrupt
    assert [each.place for each in read_log(tmp_path)] == ["other"]


def test_a_killed_evaluation_is_a_look_but_for_the_same_command(entry, tmp_path):
    write_json(tmp_path / LOG, [entry.model_copy(update={"finished": False}).model_dump()])
    assert earlier_looks(tmp_path, "f", hash_place(tmp_path / "elsewhere")) == ("2026-01-02",)
    assert earlier_looks(tmp_path, "f", entry.place) == ()
    with entered(tmp_path, entry):
        pass
    assert read_log(tmp_path) == [entry]
    assert earlier_looks(tmp_path, "f", entry.place) == ("2026-01-02",)


def test_a_frozen_run_keeps_the_looks_that_were_had_at_it(entry, tmp_path):
    (tmp_path / "run").mkdir()
    take_over(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run" / LOG).exists()
    with entered(tmp_path, entry):
        pass
    take_over(tmp_path, tmp_path / "run")
    assert read_log(tmp_path / "run") == [entry]
