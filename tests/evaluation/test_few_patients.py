import numpy as np
import pandas as pd
import pytest
from few_page import MODELS, POSTERIOR, draw, interval, render
from missing import MODALITIES, PATTERNS, in_order
from scipy import stats

from fusion_ln.files.formats import write_csv


@pytest.fixture
def rows(rng, tmp_path):
    """Two sizes, two starts and three seeds of made figures, as the table holds them; concat leads by 0.02."""
    cells = [(size, start, seed) for size in (60, 240) for start in ("pretrained", "scratch") for seed in range(3)]
    made = []
    for size, start, seed in cells:
        base = 0.8 + 0.03 * (start == "pretrained") + rng.normal(scale=0.02)
        for model in (POSTERIOR, *MODELS):
            gain = {POSTERIOR: 0.1, "concat": 0.02 + rng.normal(scale=1e-4)}.get(model, 0.0)
            keys = {"patients": size, "start": start, "seed": seed, "machine": "one", "model": model}
            made.append(keys | {"auc": base + gain, "recall_balanced": 0.5 + gain, "recall_prevalence": 0.4})
    write_csv(tmp_path / "few.csv", pd.DataFrame(made))
    return pd.read_csv(tmp_path / "few.csv")


def test_the_interval_over_seeds_is_students(rng):
    values = rng.normal(size=3)
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert interval(values) == pytest.approx((values.mean(), low, high))
    assert np.isnan(interval(values[:1])[1:]).all()


def test_the_page_of_the_table_tells_who_leads_and_what_is_missing(rows):
    page = render(rows, ["1200 scratch (seed 2)"], "Written by hand.")
    aucs = rows[(rows["patients"] == 60) & (rows["start"] == "scratch")].groupby("model")["auc"].mean()
    advice = page.split("## Which head")[1]
    assert f"| 60 | scratch | concat | {aucs['concat']:.3f} | +0.020 (+0.0" in advice
    assert advice.count("| yes |") == 4
    assert "Not trained: 1200 scratch (seed 2)." in page
    assert "| 60 | pretrained | 3 | balanced | 0.60 | 0.50 | 0.50 (+0.00 (" in page  # late fusion gains nothing
    assert draw(rows).startswith(b"\x89PNG")


def test_cells_with_any_picture_missing_are_trained_before_those_of_one_modality():
    cells = in_order([1, 0], PATTERNS)
    assert cells[:2] == [(PATTERNS[0], 1), (PATTERNS[0], 0)]  # complete
    alone = [pattern.kind in MODALITIES for pattern, _ in cells]
    assert alone == sorted(alone)
    assert sorted(map(str, cells)) == sorted(str((each, seed)) for each in PATTERNS for seed in (0, 1))
