import pytest
import torch
from tiny import CPU

from fusion_ln.compute.device import fits_at_once, make_fabric
from fusion_ln.settings.devices import DeviceSettings

# A batch job of four tasks, as each scheduler tells its processes.
JOBS = {
    "slurm": {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}
    | {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NODEID": "1", "SLURM_NODELIST": "node[1-2]"},
    "lsf": {"LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "absent", "JSM_NAMESPACE_LOCAL_RANK": "1"}
    | {"JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "1"},
}


@pytest.mark.parametrize("scheduler", JOBS)
def test_the_variables_of_a_batch_job_change_nothing(scheduler, monkeypatch):
    for name, value in JOBS[scheduler].items():
        monkeypatch.setenv(name, value)
    fabric = make_fabric(CPU, "32-true")
    assert (fabric.world_size, fabric.global_rank, fabric.local_rank, fabric.is_global_zero) == (1, 0, 0, True)


@pytest.mark.parametrize(
    ("settings", "memory", "expected"),
    [
        (DeviceSettings(device="cuda"), 3 << 30, 3),  # of 12 GB, 90 % are used
        (DeviceSettings(device="cuda"), 20 << 30, 1),
        (DeviceSettings(device="cuda"), 0, 1),  # not known
        (DeviceSettings(device="cuda", workers=4), 20 << 30, 4),  # users may know better
        (DeviceSettings(device="cuda", devices=2), 1 << 30, 1),  # a fit on both
    ],
)
def test_a_gpu_gets_as_many_fits_as_its_memory_holds(settings, memory, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (12 << 30, 16 << 30))
    monkeypatch.setattr("fusion_ln.compute.device.cores", lambda: 8)
    assert fits_at_once(settings, 5, memory) == expected
