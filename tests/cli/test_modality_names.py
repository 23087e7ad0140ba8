"""Modalities that a cohort names as it likes go through every command, and names that cannot are refused at import."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import OPTIONS, fusionln

from fusion_ln.models.triplet import module_key

pytestmark = pytest.mark.usefixtures("short_pages")

QUICK = ("head.finetune.epochs=1", "head.epochs=1", "head.copies=1", "head.grid=1")
NAMES = ("swe.map v2/a", "type")  # a dot, a blank and a slash; an attribute of every network


def write_table(folder, names, patients=20):
    """Write pictures and a table with one column of paths per modality; returns the table's path."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(patients):
        row = {"patient_id": f"1/{number}", "label": "ab"[number % 2]}
        for position, name in enumerate(names):
            path = f"{number}-{position}.png"
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
            coarse.resize((36, 36), Image.Resampling.BICUBIC).convert("RGB").save(folder / path)
            row[name] = path
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "patients.csv", index=False)
    return folder / "patients.csv"


@pytest.mark.slow
def test_any_modality_name_goes_through_every_command(tmp_path):
    table, cohort, out = write_table(tmp_path, NAMES), tmp_path / "cohort", tmp_path / "out"
    fusionln("cohort", "import", "table", table, "--out", cohort, "--folds", 2)
    fusionln("cohort", "check", cohort)
    options = [*OPTIONS, *(part for change in QUICK for part in ("--set", change))]
    fusionln("run", "fusion", "--cohort", cohort, "--head", "concat", "--out", out, *options)
    run = out / "fusion-concat"
    pictures = [f"{name}={tmp_path / f'3-{position}.png'}" for position, name in enumerate(NAMES)]
    output = fusionln("predict", run, "--picture", pictures[0], "--picture", pictures[1])
    assert "+".join(NAMES) in output
    fusionln("explain", run, "--patients", "1/3")
    fusionln("explain", "audit", run, "--device", "cpu")
    page = (run / "explanation" / "explanation.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)


@pytest.mark.parametrize("name", ["2d+cdfi", "a=b", "a,b", "tab\tname"])
def test_a_modality_name_that_no_option_could_hold_is_refused_at_import(tmp_path, name):
    table = write_table(tmp_path, [name], patients=4)
    output = fusionln("cohort", "import", "table", table, "--out", tmp_path / "cohort", "--folds", 2, code=1)
    assert f"modality {name!r}: holds" in output
    assert not (tmp_path / "cohort").exists()


def test_predict_takes_one_picture_of_a_modality_and_pairs_only(tmp_path):
    output = fusionln("predict", "absent", "--2d", "a.png", "--picture", "2d=b.png", code=2)
    assert "Two pictures of modality '2d'" in output
    assert "not of the form" in fusionln("predict", "absent", "--picture", "b.png", code=2)
    assert "given twice" in fusionln("predict", "absent", "--picture", "c=1.png", "--picture", "c=2.png", code=2)
    assert "--elastic" in fusionln("predict", "--help")


def test_keys_of_networks_are_one_to_one_and_plain_names_stay():
    names = ["2d", "cdfi", "a.b", "a%2Eb", "type", "type%", "training", "items", "a b"]
    keys = [module_key(name) for name in names]
    assert len(set(keys)) == len(names)
    assert keys[:2] == names[:2]
    assert not any("." in key for key in keys)
