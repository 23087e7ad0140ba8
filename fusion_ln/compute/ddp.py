"""Fits that several processes share (distributed data parallel): the first does all the rest, the others follow it."""

import atexit
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from fusion_ln.compute.device import accelerator_of, cores, make_fabric
from fusion_ln.compute.environment import Environment
from fusion_ln.compute.processes import die_with_parent
from fusion_ln.errors import DivergedError, FusionLNError, SettingsError
from fusion_ln.settings import DeviceSettings

_rank0: list[Fabric] = []  # of the first process, as long as it can hand on fits


def init_ranks(device: DeviceSettings) -> bool:
    """Bring the processes of shared fits together: True in the first, which goes on with the command.

    The others do their part of every fit that the first hands on, and come back with False when it is done. With
    one process per fit, True at once.

    Raises:
        SettingsError: If torchrun started another number of processes, or none and there are several machines.
    """
    _check_launcher(device)
    if device.processes == 1:
        return True
    fabric = make_fabric(device, "32-true")
    if accelerator_of(device) == "cpu":
        torch.set_num_threads(max(1, cores() // device.devices))
    if fabric.is_global_zero:
        _rank0.append(fabric)
        atexit.register(_shutdown)
        return True
    _worker_loop(fabric)
    torch.distributed.destroy_process_group()
    return False


@contextmanager
def run_on_all_ranks(device: DeviceSettings, files: Iterable[Path], take_part: Callable[[], Any]) -> Iterator[None]:
    """Let the other processes of a shared fit ``take_part`` in what the body does; nothing with one process.

    Args:
        device: Of the fit.
        files: What every process must see.
        take_part: Can be pickled; called by every other process.

    Raises:
        RunError: If a process does not see the files as this one does.
    """
    if device.processes == 1:
        yield
        return
    assert _rank0, "`init_ranks` brings the processes together first"
    fabric = _rank0.pop()  # an error in the body leaves the others amid a fit, where nothing more can be handed on
    fabric.broadcast((take_part, Environment.capture(files)))
    if problems := _problems_of_all(None):
        _rank0.append(fabric)
        raise problems[0]
    try:
        yield
    except DivergedError:  # in all processes alike
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


def _worker_loop(fabric: Fabric) -> None:
    """Take part in fits until dismissed; the first process speaks for all."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first hears Ctrl-C; this one ends with it
    while (work := fabric.broadcast(None)) is not None:
        take_part, surroundings = work
        if not _problems_of_all(_problem(surroundings)):
            try:
                take_part()
            except DivergedError:
                continue
            except RuntimeError as error:
                if "by peer" not in str(error):
                    raise
                os._exit(1)  # the first ended amid the fit, and says why


def _problem(surroundings: Environment) -> FusionLNError | None:
    try:
        surroundings.apply()
    except FusionLNError as error:
        return error
    return None


def _problems_of_all(own: FusionLNError | None) -> list[FusionLNError]:
    told: list[FusionLNError | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(told, own)
    return [problem for problem in told if problem is not None]


def _shutdown() -> None:
    for fabric in _rank0:
        fabric.broadcast(None)
    torch.distributed.destroy_process_group()  # its threads must not outlive the interpreter
