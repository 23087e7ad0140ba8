"""Names that users chose, against a Markdown parser of its own and by the list of what LaTeX gives a meaning."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusion_ln.report.kit.escape import code_span, latex, markdown

NASTY = "*_|<>[]()`#\\\\{}$%&~^!"
TEXTS = st.text(alphabet=NASTY + "ab1. -+\n", max_size=30)


def words(text):
    return " ".join(text.split())


def parsed(text):
    """List what a reader sees: the kinds of blocks, and the text of each."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks, texts = [], []
    for token in parser.parse(text):
        blocks.append(token.type)
        if token.type == "inline":
            assert {child.type for child in token.children} <= {"text", "code_inline"}, text
            texts.append("".join(child.content for child in token.children))
    return blocks, texts


@settings(deadline=None)
@given(TEXTS)
@example(NASTY)
@example("1. first")
@example("---")
@example("<b>bold</b> [link](http://a) ![x](y) &amp; **x** `c` | ~~d~~")
def test_markdown_shows_a_text_as_it_is(text):
    expected = words(text)
    assert parsed(f"x {markdown(text)}")[1] == [words(f"x {expected}")]
    blocks, texts = parsed(markdown(text))
    assert [words(found) for found in texts] == [expected][: len(texts)]
    assert blocks in ([], ["paragraph_open", "inline", "paragraph_close"])
    cells = parsed(f"| a | b |\n| --- | --- |\n| {markdown(text)} | 1 |\n")[1]
    assert [words(cell) for cell in cells] == ["a", "b", expected, "1"]


@settings(deadline=None)
@given(TEXTS)
@example("`` ` ```")
def test_a_code_span_shows_a_text_as_it_is(text):
    if expected := words(text):
        assert parsed(f"x {code_span(text)}")[1] == [f"x {expected}"]


@settings(deadline=None)
@given(TEXTS)
@example(NASTY)
def test_latex_holds_no_sign_with_a_meaning(text):
    """All outside our own commands is a letter, or behind a backslash or within braces."""
    rest = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\{[][*]\}", "", latex(text))
    assert not set(rest) & set("\\~^<>|[*&%$#_{}\n")


def test_latex_commands_stand_for_their_signs():
    assert latex("50 % & a_b\n{x}") == r"50 \% \& a\_b \{x\}"
    assert latex("\\~^<>|[*") == (
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}{[}{*}"
    )
