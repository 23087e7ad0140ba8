"""Names of files: no two texts share one, and every file system takes it."""

from hypothesis import example, given
from hypothesis import strategies as st

from fusion_ln.files.names import as_file_name

CLOSE = st.text(alphabet="ab/_ .:~-+%é2F\x00\udce9", max_size=6)  # texts that a lossy rule maps onto each other


@given(st.lists(st.one_of(CLOSE, st.text(max_size=300)), unique=True, min_size=2, max_size=40))
@example(["a/b", "a_b", "a b", "a~2Fb", "a%2Fb", "a:b"])
@example(["", "~", ".", "..", "~2E"])
@example(["x" * 181, "x" * 182, as_file_name("x" * 181)])
@example(["é" * 200, "é" * 201])
def test_no_two_texts_share_a_file_name(texts):
    assert len({as_file_name(text) for text in texts}) == len(texts)


@given(st.one_of(CLOSE, st.text(max_size=300)))
def test_a_file_name_is_one_that_every_file_system_takes(text):
    name = as_file_name(text)
    assert 0 < len(name.encode()) <= 180
    assert not set(name) & set("/\\\0 %?#:")
    assert not name.startswith(".")


def test_harmless_names_stay_as_they_are():
    for name in ("benign", "roc-lymphoma", "P0001", "2d+cdfi", "图像_1.5", "seed-0"):
        assert as_file_name(name) == name


def test_what_is_quoted_can_be_read():
    assert as_file_name("EF below 40") == "EF~20below~2040"
    assert as_file_name("1/171") == "1~2F171"
