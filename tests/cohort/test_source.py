"""Sources are found by their files, and their own options are declared there."""

import pytest
from tiny import fusionln, refused

from fusion_ln.cohort.source import Source, find_source, open_source, options_of, source_names, source_titles
from fusion_ln.errors import SettingsError

OWN = {
    "auli": [],
    "busi": [],
    "cv4lymphnode": ["patient_pattern"],
    "ddti": ["malignant_from"],
    "edcu": ["cut_points"],
    "lymphus": [],
    "ocau": [],
    "table": ["classes"],
    "us3m": [],
}


def test_every_file_of_the_folder_is_a_source_of_its_name(tmp_path):
    assert set(source_names()) >= set(OWN)
    for name in source_names():
        assert issubclass(find_source(name), Source)
        assert open_source(name, tmp_path).name == name
        assert source_titles()[name].endswith(".")


@pytest.mark.parametrize("name", OWN)
def test_a_source_shows_its_own_options_and_no_others(name):
    assert [field.name for field in options_of(find_source(name))] == OWN[name]
    text = fusionln("cohort", "import", name, "--help")
    flags = {f"--{option.replace('_', '-')} " for options in OWN.values() for option in options}
    assert {flag for flag in flags if flag in text} == {f"--{o.replace('_', '-')} " for o in OWN[name]}
    assert "--leave-out" in text


def test_the_list_of_sources_has_their_titles():
    text = fusionln("cohort", "import", "--help")
    assert all(name in text for name in source_names())
    assert "breast ultrasound with masks" in text


@pytest.mark.parametrize(("name", "options"), [("busi", ["--frames", "0"]), ("edcu", ["--cut-points", "40,x"])])
def test_a_value_that_a_source_cannot_use_is_one_message(tmp_path, name, options):
    assert options[0] in refused("cohort", "import", name, tmp_path, "--out", tmp_path / "c", *options)


def test_an_option_of_another_source_is_refused_from_python_too(tmp_path):
    with pytest.raises(SettingsError, match="source busi: takes no `--cut-points`"):
        open_source("busi", tmp_path, cut_points=(3.0,))
    with pytest.raises(SettingsError, match="takes no `--root`"):
        open_source("busi", tmp_path, root=tmp_path)
