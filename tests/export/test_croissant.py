"""Descriptions of cohorts in Croissant, read by the reader of its authors."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import build_cohort, fusionln, refused

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.export.croissant import to_croissant

croissant = pytest.importorskip("mlcroissant")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A cohort with an absent picture, a number, a text and odd names of columns."""
    made = build_cohort(tmp_path_factory.mktemp("cohort"), 10, absent={1: {"cdfi"}}, k=3, name="a b")
    columns = {"long axis [mm]": [1.5] * 9 + [np.nan], "边界": list("xyzxyzxyzx"), "calcified": [True, False] * 5}
    made = replace(made, patients=made.patients.assign(**columns), source="us3m")
    save_cohort(made)
    return made


def rows(data, name):
    """Return the records of a set as a table."""
    text = [{k: v.decode() if isinstance(v, bytes) else v for k, v in row.items()} for row in data.records(name)]
    return pd.DataFrame(text)


@pytest.mark.parametrize("place", ["croissant.json", "../elsewhere/croissant.json"])
def test_the_reader_of_the_format_finds_no_error_and_every_record(cohort, place):
    path = cohort.root / place
    fusionln("cohort", "export", cohort.root, "--croissant", path)
    data = croissant.Dataset(path)
    assert not data.metadata.ctx.issues.errors
    patients = rows(data, "patients")
    assert patients["patients/patient_id"].tolist() == cohort.patients["patient_id"].tolist()
    assert patients["patients/label"].tolist() == cohort.patients["label"].tolist()
    assert patients["patients/%E8%BE%B9%E7%95%8C"].tolist() == list("xyzxyzxyzx")
    np.testing.assert_array_equal(patients["patients/long%20axis%20%5Bmm%5D"], cohort.patients["long axis [mm]"])
    assert rows(data, "images")["images/sha256"].tolist() == cohort.images["sha256"].tolist()
    folds = rows(data, "folds")
    for column in cohort.folds:
        assert folds[f"folds/{column}"].tolist() == cohort.folds[column].tolist()
    assert rows(data, "classes")["classes/name"].tolist() == list(cohort.classes)
    sizes = cohort.folds["fold"].value_counts().sort_index()
    assert rows(data, "splits")["splits/patients"].tolist() == sizes.tolist()


def test_nodes_have_a_row_each_and_are_counted_beside_their_patients(tmp_path):
    made = build_cohort(tmp_path, 12, k=3, name="nodes")
    owners = dict(
        zip(made.patients["patient_id"], [f"P{number // 2}::{number % 2 + 1}" for number in range(12)], strict=True)
    )
    part = {"fold": [number // 2 % 3 for number in range(12)], **{f"inner_{k}": False for k in range(3)}}
    folds = made.folds.assign(**part)
    tables = {
        name: table.assign(patient_id=table["patient_id"].map(owners))
        for name, table in (("patients", made.patients), ("images", made.images), ("folds", folds))
    }
    cohort = replace(made, **tables)
    save_cohort(cohort)
    fusionln("cohort", "export", cohort.root, "--croissant", cohort.root / "croissant.json")
    data = croissant.Dataset(cohort.root / "croissant.json")
    assert not data.metadata.ctx.issues.errors
    patients = rows(data, "patients")
    units = patients["patients/patient_id"] + "::" + patients["patients/node_id"]
    assert units.tolist() == cohort.patients["patient_id"].tolist()
    splits = rows(data, "splits")
    assert (splits["splits/patients"].sum(), splits["splits/nodes"].sum()) == (6, 12)
    assert "12 nodes of 6 patients" in data.metadata.description


def test_frames_of_cines_are_named_in_the_cohort_and_others_in_the_archive(cohort):
    images = cohort.images.assign(path="scans/a.jpg", cine="")
    images.loc[0, ["path", "cine"]] = "frames/a/3.png", "scans/a.avi"
    mixed = replace(cohort, images=images, pictures=cohort.root / "images")
    described = to_croissant(mixed, cohort.root)["distribution"]
    [files] = [each for each in described if each["@type"] == "cr:FileSet"]
    assert files["includes"] == ["frames/*.png", "images/scans/*.jpg"]


def test_pictures_are_named_where_they_lie_beside_the_description(cohort, tmp_path):
    fusionln("cohort", "export", cohort.root, "--croissant", cohort.root / "with.json")
    records = croissant.Dataset(cohort.root / "with.json").records("pixels")
    pixels = {record["pixels/path"].decode(): record["pixels/content"] for record in records}
    assert pixels.keys() == set(cohort.images["path"])
    image, path = cohort.images[["image_id", "path"]].iloc[3]
    np.testing.assert_array_equal(np.asarray(pixels[path].convert("RGB")), cohort.read_picture(image))
    scans = replace(cohort, images=cohort.images.assign(path="images/a.dcm"))
    names = [each["name"] for each in to_croissant(scans, cohort.root)["recordSet"]]
    assert names == ["classes", "patients", "images", "folds", "splits"]  # no reader shows DICOM as a picture
    beside = to_croissant(cohort, cohort.root)["distribution"][-1]
    assert beside["includes"] == ["images/*.png"]
    assert to_croissant(cohort, cohort.root.parent)["distribution"][-1]["includes"] == ["a b/images/*.png"]
    flat = replace(cohort, images=cohort.images.assign(path="a.png"))
    assert to_croissant(flat, cohort.root)["distribution"][-1]["includes"] == ["*.png"]
    assert len(to_croissant(cohort, tmp_path)["distribution"]) == 3


def test_a_description_says_source_split_and_simulation(cohort):
    described = to_croissant(cohort, cohort.root)
    assert "Trusted Dynamic Feature Fusion" in described["citeAs"]
    assert "3 outer folds, each patient in one" in described["description"]
    assert "imulated" not in json.dumps(described)
    simulated = to_croissant(replace(cohort, simulated=True, source="phantom"), cohort.root)
    assert simulated["description"].startswith("Simulated patients, no real ones")
    assert "simulated" in simulated["keywords"]
    assert "no patient was examined" in simulated["rai:dataCollection"]


def test_files_of_the_cohort_and_places_that_cannot_be_written_are_refused(cohort, tmp_path):
    command = ("cohort", "export", cohort.root, "--croissant")
    assert "a file of the cohort" in refused(*command, cohort.root / "patients.parquet")
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in refused(*command, tmp_path / "file" / "croissant.json")
    assert "Missing option '--croissant'" in refused(*command[:-1])
    assert "is not a cohort" in refused("cohort", "export", tmp_path, "--croissant", tmp_path / "a.json")
