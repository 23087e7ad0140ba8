import subprocess
import sys

import pytest
from tiny import CPU

from fusion_ln.compute.fabric import make_fabric

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


LOADED = """
import sys
import fusion_ln.compute.engines, fusion_ln.compute.local, fusion_ln.compute.ray
import fusion_ln.explain.job, fusion_ln.explain.run, fusion_ln.explain.shortcut.audit, fusion_ln.external.explain
print({"lightning_fabric", "sympy", "torch._dynamo"} & set(sys.modules))
import fusion_ln.training.crossval
print("lightning_fabric" in sys.modules)
"""


def test_fabric_comes_with_the_jobs_that_train_and_with_no_other():
    """Explanations and audits do without torch's compiler, too; trainings have it before their workers are forked."""
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["set()", "True"]
