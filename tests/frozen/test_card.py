"""What a model's card says first."""

from types import SimpleNamespace

import pytest

from fusion_ln.frozen.card import warnings_of
from fusion_ln.records.parts import Preparation

REFUSED = "`predict` takes frames of a cine by this rule, `serve` refuses a cine and takes its frames one by one"


@pytest.mark.parametrize(
    ("preparation", "how"),
    [
        (
            Preparation(frames="best"),
            f"taken from cines (`--frames best`): {REFUSED}; elsewhere give it such frames",
        ),
        (
            Preparation(frames="best", crop="auto"),
            f"taken from cines (`--frames best`) and cut out of their screens (`--crop auto`): {REFUSED}; `predict` "
            "and `serve` do the rest to each picture; elsewhere give it pictures prepared alike",
        ),
        (
            Preparation(frame=7),
            "taken from cines (`--frame 7`): `predict` and `serve` do the same to each picture; elsewhere give it "
            "pictures prepared alike",
        ),
    ],
)
def test_the_warning_of_a_study_of_cines_says_what_is_done_to_new_ones(preparation, how):
    record = SimpleNamespace(study=SimpleNamespace(protocol="nested", simulated=False, preparation=preparation))
    assert warnings_of(record) == [f"The pictures of its study were {how}."]
