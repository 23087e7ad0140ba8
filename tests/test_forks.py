import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Connection

import pytest
from tiny import handled, started

from fusion_ln import forks
from fusion_ln.errors import RunError
from fusion_ln.forks import interrupts_held_back, map_in_forks

ITEMS = range(3, 11)


@pytest.fixture
def two_cores(monkeypatch):
    """Two cores, and no thread beside the main one: pytest-xdist has some. No fork may be left behind."""
    monkeypatch.setattr(forks, "cores", lambda: 2)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    others = set(multiprocessing.active_children())  # of other tests in this process
    yield
    assert set(multiprocessing.active_children()) <= others


def process_of(item):
    return item, os.getpid()


@pytest.mark.usefixtures("two_cores")
def test_forks_compute_in_order_with_what_lies_in_memory():
    lock = threading.Lock()  # could not be sent
    found = list(map_in_forks("Squares", lambda item: (lock.locked(), item * item, os.getpid()), ITEMS))
    assert [each[:2] for each in found] == [(False, item * item) for item in ITEMS]
    assert os.getpid() not in {process for _, _, process in found}


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("where", ["few items", "one core", "other threads", "a worker"])
def test_this_process_computes_where_forks_do_not_pay_or_are_not_safe(monkeypatch, where):
    if where == "one core":
        monkeypatch.setattr(forks, "cores", lambda: 1)
    elif where == "other threads":
        monkeypatch.setattr(threading, "active_count", lambda: 2)
    elif where == "a worker":
        monkeypatch.setattr(multiprocessing, "parent_process", lambda: "the command")
    items = ITEMS[:4] if where == "few items" else ITEMS
    assert list(map_in_forks("Processes", process_of, items)) == [(item, os.getpid()) for item in items]


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("n_forks", [0, 1])
def test_this_process_computes_where_the_system_allows_no_more(monkeypatch, n_forks):
    fork, left = os.fork, [True] * n_forks

    def limited():
        if not left:
            raise BlockingIOError("Resource temporarily unavailable")
        left.pop()
        return fork()

    monkeypatch.setattr(os, "fork", limited)
    assert list(map_in_forks("Processes", process_of, ITEMS)) == [(item, os.getpid()) for item in ITEMS]


@pytest.mark.usefixtures("two_cores")
def test_results_do_not_pile_up_behind_a_slow_one():
    reader, writer = os.pipe()

    def work(item):
        """Compute the first item once the other fork has done all six that it is given meanwhile."""
        if item == 0:
            assert sum(len(os.read(reader, 1)) for _ in range(6)) == 6
        os.write(writer, b".")
        return item

    results = map_in_forks("Items", work, range(40))
    assert next(results) == 0
    os.write(writer, b"!")
    assert len(os.read(reader, 40)) <= 3  # of the first, perhaps of the second, and this test's own
    assert list(results) == list(range(1, 40))
    os.close(reader)
    os.close(writer)


@pytest.mark.usefixtures("two_cores")
def test_the_error_of_a_fork_is_that_of_the_command():
    def refuse(item):
        raise RunError(f"item {item}: is damaged.", "Make it again.")

    with pytest.raises(RunError, match="item 3: is damaged") as caught:
        list(map_in_forks("Items", refuse, ITEMS))
    assert caught.value.way_out == "Make it again."


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_fork_leaves_is_computed_here(capsys, end):
    command = os.getpid()

    def work(item):
        if item == 7 and os.getpid() != command:
            os.kill(os.getpid(), end)
        return item * item

    assert list(map_in_forks("Squares", work, ITEMS)) == [item * item for item in ITEMS]
    assert "Squares: a process was killed" in capsys.readouterr().err


@pytest.mark.usefixtures("two_cores")
def test_a_fork_that_is_killed_amid_its_result_leaves_it_to_this_process(capsys):
    command, send = os.getpid(), Connection.send_bytes

    def send_a_part(connection, buffer, *rest):
        if len(buffer) > 2**20:
            os.write(connection.fileno(), b"\xff")
            os.kill(os.getpid(), signal.SIGKILL)
        send(connection, buffer, *rest)

    def work(item):
        if os.getpid() != command:
            Connection.send_bytes = send_a_part
            Connection.send = lambda connection, message: connection.send_bytes(pickle.dumps(message))
        return bytes(2**21) if item == 7 else bytes(1)

    assert [len(result) for result in map_in_forks("Bytes", work, ITEMS)] == [1, 1, 1, 1, 2**21, 1, 1, 1]
    assert "Bytes: a process was killed" in capsys.readouterr().err


COMMAND = """
import os, time
from fusion_ln import forks
def work(item):
    os.write(1, b"%d\\n" % os.getpid())  # whole, beside the other's
    time.sleep(600)
forks.cores = lambda: 2
forks._pays = lambda n_items: True  # though the process that plays the command is a worker itself
list(forks.map_in_forks("Work", work, range(8)))
"""
INTERRUPTED = """
import os, signal
fork = os.fork
def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    return fork()
os.fork = interrupted
"""


@pytest.mark.parametrize("ends", [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_an_interrupt_ends_forks_that_still_work(ends):
    with started(COMMAND) as (command, output):
        working = [os.pidfd_open(int(output.readline())) for _ in range(2)]
        for end in ends:
            os.kill(command.pid, end)
        for process in (command.sentinel, *working):
            assert select.select([process], [], [], 60)[0], "a process goes on"
        assert ("KeyboardInterrupt" in output.read()) == (signal.SIGINT in ends)
        for process in working:
            os.close(process)


def test_an_interrupt_ends_forks_that_start():
    with started(INTERRUPTED + COMMAND) as (command, output):
        assert select.select([command.sentinel], [], [], 60)[0], "the command goes on"
        assert "KeyboardInterrupt" in output.read()  # to its end: no fork holds it open


def test_a_fork_ends_with_its_command():
    with started(COMMAND) as (command, output):
        working = [os.pidfd_open(int(output.readline())) for _ in range(2)]
        command.kill()
        for fork in working:
            assert select.select([fork], [], [], 60)[0], "the fork goes on"
            os.close(fork)


IS_DEAF = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


@pytest.fixture
def hears_ctrl_c():
    """Hear Ctrl-C as a command does that was not started in the background of a shell."""
    with handled(signal.SIGINT, signal.default_int_handler):
        yield


@pytest.mark.usefixtures("hears_ctrl_c")
def test_processes_start_deaf_to_ctrl_c_which_comes_when_all_have_started():
    started = []

    def start_all():
        with interrupts_held_back():
            for _ in range(2):
                started.append(subprocess.Popen([sys.executable, "-c", IS_DEAF], stdout=subprocess.PIPE))
                signal.raise_signal(signal.SIGINT)  # to this thread: pytest-xdist has others

    with pytest.raises(KeyboardInterrupt):
        start_all()
    assert [process.communicate()[0] for process in started] == [b"True\n"] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("hears_ctrl_c")
def test_an_interrupt_that_was_held_back_is_not_lost_to_an_error():
    def fail():
        with interrupts_held_back():
            signal.raise_signal(signal.SIGINT)  # to this thread: pytest-xdist has others
            raise OSError

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, OSError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
