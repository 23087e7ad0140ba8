import pytest
import torch

from fusion_ln.models.fusion.layers import TransformerBlock
from fusion_ln.settings.fusion import HeadSettings


def test_stochastic_depth_drops_branches_of_patients_and_keeps_their_mean():
    torch.manual_seed(0)
    block = TransformerBlock(HeadSettings(width=16, drop_path=0.25, dropout=0))
    branch = torch.ones(4000, 3, 16)
    kept = block.drop_branch(branch)
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (kept.flatten(1).std(1) == 0).all()
    assert kept.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(block.eval().drop_branch(branch), branch)
