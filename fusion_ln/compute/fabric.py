"""Lightning Fabric for what trains; it imports torch's compiler, which nothing else needs."""

import logging
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from fusion_ln.compute.device import accelerator_of, check_device, fast_at_bf16
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import Precision

RANK_TIMEOUT = timedelta(days=7)  # of ranks that wait while rank 0 prepares, perhaps a million pictures


def make_fabric(settings: DeviceSettings, precision: Precision, *, find_unused_parameters: bool = False) -> Fabric:
    """Set up Lightning Fabric for one process or, with several devices or nodes, distributed data parallel.

    Args:
        settings: The device.
        precision: ``auto`` takes bf16 where the device is fast at it.
        find_unused_parameters: Allow parts of the model to take no part in a batch, such as the heads of other tasks.

    Raises:
        SettingsError: If the machine has no such device, or fewer of them.
    """
    check_device(settings)
    accelerator = accelerator_of(settings)
    chosen = precision if precision != "auto" else ("bf16-mixed" if fast_at_bf16(accelerator) else "32-true")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision, as run.json does
    strategy = DDPStrategy(timeout=RANK_TIMEOUT, find_unused_parameters=find_unused_parameters)
    # Named, since Fabric would take the variables of a Slurm, LSF or MPI job for an order to share this fit.
    launched = torch.distributed.is_torchelastic_launched()
    fabric = Fabric(
        accelerator=accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=strategy if settings.processes > 1 else "auto",
        precision=chosen,
        plugins=TorchElasticEnvironment() if launched else LightningEnvironment(),
    )
    fabric.launch()
    return fabric


def precision_of(fabric: Fabric) -> str:
    """Return the precision that ``auto`` became."""
    return str(fabric._precision.precision)
