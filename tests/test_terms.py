import pytest

from fusion_ln.report.kit.style import COLOURS, LIGHT, OTHERS, modality_colour
from fusion_ln.terms import COLOUR_MODALITIES, KNOWN_MODALITIES, MODALITY_TABLE, modality_title, short_title, subsets

MODALITIES = ("2d", "cdfi", "elastic")


def test_all_subsets_of_a_triplet_are_seven():
    assert list(subsets(MODALITIES)) == [
        "2d", "cdfi", "elastic", "2d+cdfi", "2d+elastic", "cdfi+elastic", "2d+cdfi+elastic",
    ]  # fmt: skip


def test_the_table_of_modalities_names_each_once_in_its_own_colour():
    assert len(KNOWN_MODALITIES) == len(MODALITY_TABLE)
    assert set(MODALITIES) <= set(KNOWN_MODALITIES)
    assert set(KNOWN_MODALITIES) >= COLOUR_MODALITIES == {m.name for m in MODALITY_TABLE if m.hue_is_measurement}
    assert len({light for light, _ in COLOURS.values()}) == len(LIGHT) == len(COLOURS)


def test_a_known_modality_has_its_titles_and_another_its_name():
    assert (modality_title("2d"), short_title("2d")) == ("Grey scale (2D)", "Grey scale")
    assert (modality_title("swe.map"), short_title("swe.map")) == ("swe.map", "swe.map")


@pytest.mark.parametrize("name", ["swe.map", "fusion", "ink", "other-2"])
def test_a_modality_of_the_cohort_alone_takes_an_unused_colour(name):
    assert modality_colour(name, ("2d", name)) == OTHERS[0]
    assert modality_colour("2d", ("2d", name)) == "2d"
