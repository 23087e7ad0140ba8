import pandas as pd
import pytest

from fusion_ln.files.formats import write_parquet
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.sections.evidence.subsets import subset_metrics


def test_subsets_of_the_pictures_are_read_from_the_run_and_scored(cohort, maker):
    for modality in ("2d", "cdfi"):
        maker.baseline(modality)
    run = maker.fusion()
    held = pd.read_parquet(run.predictions)
    parts = [held.assign(modalities=name) for name in ("2d+cdfi", "2d", "cdfi")]
    write_parquet(run.subset_predictions, pd.concat(parts))
    results = read_results([*maker.baselines.values(), run], cohort)
    table = subset_metrics(results)
    assert table["modalities"].drop_duplicates().tolist() == ["2d", "cdfi", "2d+cdfi"]
    auc = table.query("metric == 'auc_ovr'")["value"]
    assert auc.tolist() == pytest.approx([results.interval(results.main, "auc_ovr").value] * 3)
