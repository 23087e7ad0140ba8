"""Words of errors."""

from hypothesis import given
from hypothesis import strategies as st

from fusion_ln.errors import printable


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_whatever_a_name_holds_it_can_be_printed(text):
    printable(text).encode()
    assert printable("café\udce9") == "café\\xe9"
