import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from multiprocessing import forkserver

import pytest
from tiny import CPU, started

from fusion_ln.compute import local
from fusion_ln.compute.processes import preload_now
from fusion_ln.errors import RunError
from fusion_ln.settings.devices import DeviceSettings

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


@dataclass(frozen=True)
class KilledJob:
    """A fit that is killed as a system without memory kills one."""

    device: DeviceSettings
    memory: int = 0
    epochs: int = 1
    files: tuple[()] = ()

    def execute(self, on_epoch):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_in_words():
    with pytest.raises(RunError, match="was killed before its fit was done"):
        local.run([KilledJob(CPU.model_copy(update={"workers": 2}))] * 2, 1, print)


SCRIPT = """
from pathlib import Path
from fusion_ln.compute.processes import WORKERS, preload, refuse_unguarded
from fusion_ln.errors import RunError
from fusion_ln.files.locks import locked
preload([])
with locked(Path("busy") / ".lock"):
    worker = WORKERS.Process(target=print)
    worker.start()
    worker.join()
    try:
        refuse_unguarded()
    except RunError as error:
        print(error)
"""


@pytest.mark.parametrize("first", ["", "preload([])"])  # workers wait for the lock, or would start workers
def test_a_script_without_a_guard_ends_with_a_message_that_names_it(tmp_path, first):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("preload([])", first))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    message = f"{script}: worker processes import it, and it would start again in each."
    assert done.stdout.splitlines()[0] == message
    assert 'if __name__ == "__main__":' in done.stdout
    assert not done.stderr


def test_workers_begin_to_import_before_torch_is_needed():
    code = (
        "import sys; from multiprocessing import forkserver; from fusion_ln.compute.processes import preload_now; "
        "preload_now('json'); print(forkserver._forkserver._forkserver_pid is not None, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "False"]


def test_other_threads_begin_no_workers(monkeypatch):
    """Only the main thread can hold signals back while they start."""
    begun = []
    monkeypatch.setattr(forkserver, "ensure_running", lambda: begun.append(True))
    thread = threading.Thread(target=preload_now, args=("json",))
    thread.start()
    thread.join()
    assert not begun
