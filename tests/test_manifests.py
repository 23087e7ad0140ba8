import pytest

from fusion_ln.errors import SettingsError
from fusion_ln.manifests import load_manifest, manifest_names, manifest_path


@pytest.mark.parametrize("name", manifest_names())
def test_every_manifest_is_valid_toml_with_a_title(name):
    assert load_manifest(name)["title"]


def test_unknown_manifest_names_the_nearest_and_the_known_ones():
    with pytest.raises(SettingsError) as caught:
        manifest_path("phantomm")
    assert "Did you mean 'phantom'?" in str(caught.value)
    assert "phantom" in caught.value.way_out
