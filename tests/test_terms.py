from fusion_ln.terms import MODALITIES, subsets


def test_all_subsets_of_a_triplet_are_seven():
    assert list(subsets(MODALITIES)) == [
        "2d", "cdfi", "elastic", "2d+cdfi", "2d+elastic", "cdfi+elastic", "2d+cdfi+elastic",
    ]  # fmt: skip
