import re
from dataclasses import replace

import pytest

from fusion_ln.report.run.model_card import model_card
from fusion_ln.report.run.reading import read_results


def test_the_model_card_has_metadata_and_says_simulated(cohort, seven, real):
    yaml = pytest.importorskip("yaml")
    results = read_results(seven, cohort)
    head, text = model_card(results).removeprefix("---\n").split("\n---\n", 1)
    metadata = yaml.safe_load(head)
    reported = {m["type"]: m["value"] for m in metadata["model-index"][0]["results"][0]["metrics"]}
    assert reported["roc_auc"] == pytest.approx(results.interval(results.main, "auc_ovr").value, abs=1e-4)
    assert "simulated" in metadata["tags"]
    assert "**Simulated.**" in text
    assert "patients (simulated); source" in text
    assert not re.search(r"\w[,;](?=[^\W\d])", text)  # a space behind each
    assert "imulated" not in model_card(read_results([real[1]], real[0]))


def test_the_model_card_shows_every_name_as_it_is(cohort, maker, tmp_path):
    markdown_it = pytest.importorskip("markdown_it")
    classes = ("be|nign\n# new", "<b>lym</b> *x* [y](http://z)", "meta_sta_tic `$ \\")
    named = replace(cohort, classes=classes, name="# my_co|hort*", licence="<script>")
    run = type(maker)(named, tmp_path / "named").baseline("elastic")
    text = model_card(read_results([run], named)).split("\n---\n", 1)[1]
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    inline = [token for token in tokens if token.type == "inline"]
    shown = ["".join(child.content or "\n" for child in token.children) for token in inline]
    assert shown[0] == "Elastography, cohort # my_co|hort*"
    assert [f"Recall, {' '.join(name.split())}" for name in classes] == [s for s in shown if s.startswith("Recall, ")]
    assert sum(token.type == "heading_open" and token.tag == "h1" for token in tokens) == 1
    assert not {"html_inline", "link_open", "em_open"} & {child.type for token in inline for child in token.children}
    assert not any(token.type == "html_block" for token in tokens)
