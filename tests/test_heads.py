import subprocess
import sys

import pytest

from fusion_ln import heads
from fusion_ln.heads import LATE_HEADS, TRAINED_HEADS, head_title


def test_heads_are_listed_in_their_order():
    """Further heads may follow: none needs to be entered here."""
    assert list(LATE_HEADS)[:4] == ["late-mean", "late-logit", "late-weighted", "late-stacked"]
    assert list(TRAINED_HEADS)[:5] == ["concat", "gated", "lowrank", "cross-attention", "transformer"]


def test_a_head_is_known_by_its_file_alone(tmp_path):
    """No list to enter it in: name, title and place come from the file; without a place it comes last."""
    (tmp_path / "base.py").write_text("ORDER = 1\n")
    (tmp_path / "b_head.py").write_text('import torch_that_is_not_there\nTITLE = "B"\n')
    (tmp_path / "a_head.py").write_text('TITLE = "A"\n')
    (tmp_path / "c_head.py").write_text('TITLE = "C"\nORDER = 1\n')
    titles = heads.read_titles(tmp_path)
    assert list(titles.items()) == [("c-head", "C"), ("a-head", "A"), ("b-head", "B")]


def test_a_late_head_that_says_so_is_computed_only_where_it_is_named(tmp_path):
    (tmp_path / "a_head.py").write_text('TITLE = "A"\n')
    (tmp_path / "b_head.py").write_text('TITLE = "B"\nON_REQUEST = True\n')
    assert heads.read_unasked(tmp_path) == ("a-head",)


@pytest.mark.parametrize(("name", "title"), [("late-logit", "Mean of logits"), ("lowrank", "Low-rank product")])
def test_a_title_is_found_by_name(name, title):
    assert head_title(name) == title


def test_an_unknown_head_keeps_its_name_as_title():
    assert head_title("of-tomorrow") == "of-tomorrow"


def test_names_and_titles_need_no_torch():
    code = "import sys, fusion_ln.heads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
