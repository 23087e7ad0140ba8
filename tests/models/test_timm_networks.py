"""The table of timm's networks says of each what the commands say, and covers the installed timm."""

import runpy
from pathlib import Path

import pandas as pd
import pytest
import timm

SCRIPT = Path(__file__).parents[2] / "experiments" / "faults" / "timm_networks.py"
TABLE = pd.read_csv(SCRIPT.parents[1] / "benchmarks" / "timm_networks.csv", keep_default_na=False)
SIX = ["byobnet", "convnext", "crossvit", "efficientformer_v2", "hardcorenas", "vision_transformer"]


def test_the_table_has_every_module_of_the_installed_timm():
    lacking = set(timm.list_modules()) - set(TABLE["module"])
    assert not lacking, "run `python experiments/faults/timm_networks.py`, which adds them"


@pytest.mark.parametrize("row", TABLE[TABLE["module"].isin(SIX)].to_dict("records"), ids=lambda row: row["network"])
def test_a_network_is_what_the_table_says(row):
    if not timm.is_model(row["network"]):
        pytest.skip("a network of a later timm")
    given = runpy.run_path(str(SCRIPT))["answers"](row["network"], row["size"])
    assert given == {name: row[name] for name in given}
