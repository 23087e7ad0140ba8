import pytest
import torch

from fusion_ln.compute.device import check_device, fits_at_once
from fusion_ln.errors import SettingsError
from fusion_ln.settings.devices import DeviceSettings


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


def test_more_gpus_than_the_machine_has_are_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device(DeviceSettings(device="cuda", devices=2))
    with pytest.raises(SettingsError, match="--device cuda --devices 3: this machine has 2 GPUs"):
        check_device(DeviceSettings(device="cuda", devices=3))
