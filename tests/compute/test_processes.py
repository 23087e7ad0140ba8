import os
import select
import signal
import subprocess
import sys

import pytest
from tiny import started

from fusion_ln.compute.processes import interrupts_held_back

IS_DEAF = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


@pytest.fixture
def hears_ctrl_c():
    """Hear Ctrl-C as a command does that was not started in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_processes_start_deaf_to_ctrl_c_which_comes_when_all_have_started():
    started = []

    def start_all():
        with interrupts_held_back():
            for _ in range(2):
                started.append(subprocess.Popen([sys.executable, "-c", IS_DEAF], stdout=subprocess.PIPE))
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        start_all()
    assert [process.communicate()[0] for process in started] == [b"True\n"] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


COMMAND = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from fusion_ln.compute.processes import WORKERS, init_worker
with ProcessPoolExecutor(1, mp_context=WORKERS, initializer=init_worker, initargs=(dict(os.environ), 1)) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    print(pool.submit(os.getenv, "OF_THE_COMMAND").result(), flush=True)
    pool.submit(time.sleep, 600)
"""


def test_a_worker_has_the_variables_of_its_command_and_ends_with_it():
    with started(COMMAND, OF_THE_COMMAND="yes") as (command, output):
        worker = os.pidfd_open(int(output.readline()))
        assert output.readline() == "yes\n"
        command.kill()
        assert select.select([worker], [], [], 60)[0], "the worker goes on"
    os.close(worker)
