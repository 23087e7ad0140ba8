import pytest
from tiny import CPU

from fusion_ln.compute.device import make_fabric

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
