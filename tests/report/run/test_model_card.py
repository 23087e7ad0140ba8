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
    assert "imulated" not in model_card(read_results([real[1]], real[0]))
