from dataclasses import replace

import numpy as np
import pytest
import torch

from fusion_ln.evaluation.shapley import shapley_values
from fusion_ln.explain.contributions import coalition_values
from fusion_ln.explain.network import Explained

PRIOR = np.array([0.3, 0.2, 0.5])


@pytest.mark.parametrize("head", ["late-mean", "late-logit", "cross-attention"])
@pytest.mark.parametrize("views", [(1, 1, 1), (1, 0, 2)])
def test_contributions_sum_to_the_prediction_minus_the_prior(make_model, make_case, head, views):
    explained, case = Explained(make_model("test_vit", head)), make_case(views)
    values = coalition_values(explained, case, PRIOR)
    assert len(values) == 8
    shares = shapley_values(values)
    np.testing.assert_allclose(shares.sum(0), explained.probs(case)[0].numpy() - PRIOR, atol=1e-6)
    assert np.abs(shares).max() > 1e-3
    if 0 in views:
        assert np.abs(shares[1]).max() == 0


def test_a_subset_has_the_prediction_of_its_pictures_alone(explained, make_case):
    case = make_case((1, 1, 1))
    values = coalition_values(explained, case, PRIOR)
    alone = replace(case, present=torch.tensor([[[True], [False], [True]]]))
    np.testing.assert_allclose(values[0, 2], explained.probs(alone)[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(values[()], PRIOR)
