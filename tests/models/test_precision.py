"""Precision and layout by network: the measured rows, counts by hand, and runs that began otherwise."""

import csv
from pathlib import Path

import pytest
import torch
from tiny import CPU, FIT
from torch import nn

from fusion_ln.files.formats import write_json
from fusion_ln.models.backbones import create_backbone, memory_layout
from fusion_ln.models.convolutions import Convolutions
from fusion_ln.models.precision import suited_precision
from fusion_ln.records.parts import FoldRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.crossval import FoldJob
from fusion_ln.training.fold_files import FOLD_RECORD

MEASURED = Path(__file__).parents[2] / "experiments/benchmarks/precision.csv"
ROWS = {row["network"]: float(row["ratio"]) for row in csv.DictReader(MEASURED.open())}
CHECKED = ["resnet10t", "convnext_atto", "xception41", "mobilenetv4_conv_small", "mobilenetv3_small_100"]


def fit(network, precision="auto"):
    return FIT.model_copy(update={"backbone": network, "image_size": 96, "precision": precision})


@pytest.mark.parametrize("network", CHECKED)
def test_auto_is_float32_where_bf16_was_measured_to_be_slower(network):
    assert (suited_precision("auto", [fit(network)], "cpu") == "32-true") == (ROWS[network] < 1)


def test_a_named_precision_and_other_devices_stay_as_they_are():
    slowed = [fit("mobilenetv3_small_100")]
    assert suited_precision("bf16-mixed", slowed, "cpu") == "bf16-mixed"
    assert suited_precision("auto", slowed, "cuda") == "auto"


def test_one_slowed_network_of_several_decides():
    assert suited_precision("auto", [fit("resnet10t"), fit("mobilenetv3_small_100")], "cpu") == "32-true"


def test_multiplications_and_depthwise_outputs_are_counted():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4 * 16, 5))
    with Convolutions() as counted, torch.no_grad():
        network(torch.zeros(2, 3, 8, 8))
    outputs = 2 * 4 * 4 * 4
    multiplications = 2 * 4 * 6 * 6 * 27 + outputs * 9 + 2 * 5 * 64
    assert counted.depthwise == pytest.approx(outputs / multiplications)


def test_a_run_that_began_in_bf16_goes_on_in_it(tmp_path):
    run = RunFolder(tmp_path / "run")
    job = FoldJob(tmp_path, BaselineSettings(modality="2d", fit=fit("mobilenetv3_small_100")), run, 1, device=CPU)
    assert job.precision == "32-true"
    record = FoldRecord(fold=0, seconds=1, pictures_per_second=1, epochs=1, best_epoch=0, precision="bf16-mixed")
    write_json(run.fold(0) / FOLD_RECORD, record.model_dump(mode="json"))
    assert job.precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("network", "layout"), [("resnet10t", torch.channels_last), ("repvgg_a0", torch.contiguous_format)]
)
def test_networks_with_branches_to_merge_are_computed_plane_by_plane(network, layout):
    with torch.device("meta"):
        backbone = create_backbone(network, image_size=64)
        pictures = torch.zeros(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    seen = []
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(pictures)
    assert memory_layout(backbone) is layout
    assert seen[0].is_contiguous(memory_format=layout)
