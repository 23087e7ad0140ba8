"""Settings of devices and engines."""

from typing import Literal

from pydantic import Field

from fusion_ln.settings.base import Settings

AnswerEngine = Literal["auto", "torch", "onnx"]


class AnswerSettings(Settings):
    """Engine of the networks and fusions of a model that answers; no part of the model's identity."""

    engine: AnswerEngine = Field(
        "auto",
        description="What computes the answer: torch, or onnxruntime (the extra onnx), which agrees with it to 1e-4; "
        "auto takes onnxruntime where it is installed and faster: of a frozen model it keeps the graphs for next time.",
    )


class DeviceSettings(Settings):
    """The devices that compute fits; no part of a run's identity."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device; auto takes a GPU where there is one.")
    devices: int = Field(1, ge=1, le=1024, description="GPUs of a machine (processes, on a CPU) that share one fit.")
    nodes: int = Field(1, ge=1, le=1024, description="Machines that share one fit, each with --devices; by torchrun.")
    workers: int = Field(
        0, ge=0, le=1024, description="Fits at once; 0: one per core, or the networks that a GPU holds."
    )
    engine: Literal["local", "ray"] = Field("local", description="Where fits run: here, or on a Ray cluster.")
    address: str | None = Field(None, description="Address of the Ray cluster; by default this machine's.")

    @property
    def processes(self) -> int:
        """Number of processes that share one fit."""
        return self.devices * self.nodes

    @property
    def one_device(self) -> "DeviceSettings":
        """One device of this machine, for work that no other process shares."""
        if self.engine != "local":
            return DeviceSettings()
        return DeviceSettings(device=self.device, workers=self.workers)


AUTO = DeviceSettings()  # a GPU if there is one, else all cores of this machine
