import numpy as np
import pytest

from fusion_ln.errors import PredictionsError
from fusion_ln.predictions import Predictions, check_table, predictions_from_logits, read_predictions, write_predictions


@pytest.mark.parametrize("kind", [str, bool, lambda values: [[1.0]] * len(values)])
@pytest.mark.parametrize("column", ["logit_b", "prob_b"])
def test_logits_and_probabilities_of_another_kind_are_refused(tmp_path, rng, column, kind):
    table = predictions_from_logits(
        ("a", "b"), ["P0", "P1"], np.array([0, 1]), np.array([0, 1]), rng.normal(size=(2, 2))
    ).table
    table[column] = table[column].astype(kind) if isinstance(kind, type) else kind(table[column])
    with pytest.raises(PredictionsError, match=f"its column '{column}' holds something else than numbers"):
        check_table(tmp_path / "p.parquet", table)


@pytest.mark.parametrize("column", ["logit_b", "prob_b"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_table_with_a_value_that_is_no_number_neither_enters_nor_leaves(tmp_path, rng, column, value):
    held = predictions_from_logits(
        ("a", "b"), ["P0", "P1"], np.array([0, 1]), np.array([0, 1]), rng.normal(size=(2, 2))
    )
    table = held.table.copy()
    table.loc[1, column] = value
    with pytest.raises(PredictionsError, match=f"{column} of patient 'P1' is {value}"):
        write_predictions(tmp_path / "p.parquet", Predictions(held.classes, table))
    table.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(PredictionsError, match=f"{column} of patient 'P1' is {value}"):
        read_predictions(tmp_path / "p.parquet")
