"""Distributed data parallel fits: rank 0 runs the command, the other ranks execute the fits that it broadcasts."""

import atexit
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusion_ln.compute.device import accelerator_of
from fusion_ln.compute.environment import Environment
from fusion_ln.errors import DivergedError, FusionLNError, SettingsError
from fusion_ln.forks import die_with_parent, interrupts_held_back
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.threads import cores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_rank0: "list[Fabric]" = []  # Fabric of rank 0, while it can broadcast fits


def init_ranks(device: DeviceSettings) -> bool:
    """Initialise DDP. Returns True on rank 0; other ranks execute fits until dismissed, then return False.

    With one process per fit, nothing is initialised.

    Raises:
        SettingsError: If torchrun started another number of processes, or none and there are several machines.
    """
    _check_launcher(device)
    if device.processes == 1:
        return True
    started_by_rank0 = os.environ.get("LOCAL_RANK", "0") != "0"
    if started_by_rank0:
        _follow_rank0()
    from fusion_ln.compute.fabric import make_fabric

    # Until all have met: a process that waits for another one hears nothing.
    with nullcontext() if started_by_rank0 else interrupts_held_back():
        fabric = make_fabric(device, "32-true")
        if fabric.is_global_zero:
            _rank0.append(fabric)
            atexit.register(_shutdown)
    if accelerator_of(device) == "cpu":
        torch.set_num_threads(max(1, cores() // device.devices))
    if fabric.is_global_zero:
        return True
    _worker_loop(fabric)
    torch.distributed.destroy_process_group()
    return False


@contextmanager
def run_on_all_ranks(device: DeviceSettings, files: Iterable[Path], execute: Callable[[], Any]) -> Iterator[None]:
    """Call ``execute`` on all other ranks while the body runs on rank 0; without effect with one process.

    Args:
        device: Devices of the fit.
        files: Files that every process must see.
        execute: Picklable; called on every other rank.

    Raises:
        RunError: If a process does not see the files as this one does.
    """
    if device.processes == 1:
        yield
        return
    assert _rank0, "`init_ranks` comes first"
    fabric = _rank0.pop()  # after an error in the body the other ranks are amid a fit and receive no further one
    fabric.broadcast((execute, Environment.capture(files)))
    if problems := _gather_problems(None):
        _rank0.append(fabric)
        raise problems[0]
    try:
        yield
    except DivergedError:  # raised on all ranks
        _rank0.append(fabric)
        raise
    _rank0.append(fabric)


def _check_launcher(device: DeviceSettings) -> None:
    launched = torch.distributed.is_torchelastic_launched()
    if device.nodes > 1 and not launched:
        raise SettingsError(
            f"--nodes {device.nodes}: this process was not started by torchrun, so it knows no other machine.",
            f"On every machine: `torchrun --nnodes {device.nodes} --nproc-per-node {device.devices} "
            "--rdzv-backend c10d --rdzv-endpoint HOST:29500 --no-python fusionln ...`.",
        )
    if launched and (started := int(os.environ["WORLD_SIZE"])) != device.processes:
        raise SettingsError(
            f"torchrun started {started} processes, but `--devices {device.devices} --nodes {device.nodes}` are "
            f"{device.processes}.",
            "Give fusionln the numbers of torchrun's --nproc-per-node and --nnodes.",
        )


def _worker_loop(fabric: "Fabric") -> None:
    """Execute the fits that rank 0 broadcasts, until it dismisses this rank."""
    _follow_rank0()
    while (message := fabric.broadcast(None)) is not None:
        execute, environment = message
        if not _gather_problems(_find_problem(environment)):
            try:
                execute()
            except DivergedError:
                continue
            except RuntimeError as error:
                if "by peer" not in str(error):
                    raise
                os._exit(1)  # rank 0 ended amid the fit and printed the error


def _follow_rank0() -> None:
    """Leave Ctrl-C to rank 0, with which this process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _find_problem(environment: Environment) -> FusionLNError | None:
    try:
        environment.apply()
    except FusionLNError as error:
        return error
    return None


def _gather_problems(own: FusionLNError | None) -> list[FusionLNError]:
    problems: list[FusionLNError | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(problems, own)
    return [problem for problem in problems if problem is not None]


def _shutdown() -> None:
    for fabric in _rank0:
        fabric.broadcast(None)
    torch.distributed.destroy_process_group()  # its threads must not outlive the interpreter
