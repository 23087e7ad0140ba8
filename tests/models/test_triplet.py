import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fusion_ln.clinical.settings import ClinicalSettings
from fusion_ln.errors import RunError
from fusion_ln.heads import LATE_HEADS, TRAINED_HEADS
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.fusion.base import HeadEnsemble, TripletShape
from fusion_ln.models.triplet import LateFusion, Single, TripletModel, load_run
from fusion_ln.records.kinds import ClinicalRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings

MODALITIES = ("2d", "cdfi", "elastic")

SIDE, CLASSES = 8, 3
LEARNT = {
    "late-weighted": {"weights": [0.5, 0.2, 0.3]},
    "late-stacked": {"coefficients": torch.randn(3, 9, generator=torch.Generator().manual_seed(1)).tolist(),
                     "intercept": [0.1, 0.2, 0.3]},
    "late-calibrated": {"temperatures": [2.0, 0.5, 1.0]},
    "late-product": {"temperatures": [2.0, 0.5, 1.0], "log_prior": [-1.0, -2.0, -0.7]},
    "late-evidential": {"temperatures": [2.0, 0.5, 1.0]},
}  # fmt: skip


class TinyBackbone(nn.Module):
    """Interface of a backbone that a Classifier and a fusion head use, in one convolution."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 2, stride=2)

    def feature_map(self, pictures):
        return self.body(pictures).tanh()

    def pool(self, maps):
        return maps.mean((2, 3))

    def tokens(self, maps, grid):
        return nn.functional.adaptive_avg_pool2d(maps, grid).flatten(2).transpose(1, 2)


def whole_model(fusion):
    torch.manual_seed(0)
    names = MODALITIES[:1] if fusion == "single" else MODALITIES
    members = {m: Classifier(TinyBackbone(), nn.Linear(6, CLASSES)) for m in names}
    if fusion == "single":
        last = Single()
    elif fusion in LATE_HEADS:
        last = LateFusion(fusion, LEARNT.get(fusion))
    else:
        last = HeadEnsemble(HeadSettings(head=fusion, width=16, ensemble_size=2), TripletShape(3, 6, CLASSES))
        for head in last.heads:
            nn.init.normal_(head.last[-1].weight)
    return TripletModel(members, last, dict.fromkeys(names, SIDE), grid=2).eval()


def patients_of(model, seed, n=4, views=2):
    g = torch.Generator().manual_seed(seed)
    m = len(model.modalities)
    present = torch.rand(n, m, views, generator=g) < 0.6
    present[torch.arange(n), torch.randint(0, m, (n,), generator=g), 0] = True
    return [torch.rand(n, views, 3, SIDE, SIDE, generator=g) for _ in range(m)], present


@pytest.mark.parametrize(
    ("head", "learnt"),
    [
        ("late-weighted", {"weights": [0.5, 0.5]}),
        ("late-weighted", {"weights": []}),
        ("late-weighted", {"weight": [0.5, 0.2, 0.3]}),
        ("late-weighted", None),
        ("late-stacked", {**LEARNT["late-stacked"], "intercept": [0.1, 0.2]}),
        ("late-stacked", {**LEARNT["late-stacked"], "intercept": [0.1, 0.2, float("nan")]}),
        ("late-stacked", {**LEARNT["late-stacked"], "coefficients": [[1.0, 2.0]]}),
        ("late-stacked", {**LEARNT["late-stacked"], "coefficients": [1.0, [2.0]]}),
        ("late-calibrated", {"temperatures": [2.0]}),
        ("late-product", {**LEARNT["late-product"], "log_prior": [0.0]}),
        ("late-guess", None),
    ],
)
def test_what_a_late_head_learnt_of_other_shapes_is_not_taken(head, learnt):
    assert not LateFusion(head, learnt).takes(3, CLASSES)


@pytest.mark.parametrize("head", LATE_HEADS)
def test_what_a_late_head_learnt_is_taken(head):
    assert LateFusion(head, LEARNT.get(head)).takes(3, CLASSES)


FUSIONS = ["single", *LATE_HEADS, *TRAINED_HEADS]


@pytest.mark.parametrize("fusion", FUSIONS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_a_patient_does_not_depend_on_batch_mates(fusion, seed):
    model = whole_model(fusion)
    pictures, present = patients_of(model, seed)
    alone = torch.cat([model([p[[i]] for p in pictures], present[[i]]) for i in range(len(present))])
    torch.testing.assert_close(model(pictures, present), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([0.0, 1e4, float("nan")]))
@settings(max_examples=5, deadline=None)
def test_the_pixels_of_an_absent_picture_cannot_change_the_answer(fusion, seed, noise):
    model = whole_model(fusion)
    pictures, present = patients_of(model, seed)
    other = [p.clone().masked_fill(~present[:, m, :, None, None, None], noise) for m, p in enumerate(pictures)]
    assert torch.equal(model(pictures, present), model(other, present))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_order_of_views_cannot_change_the_answer(fusion):
    model = whole_model(fusion)
    pictures, present = patients_of(model, 5, views=3)
    turned = [p[:, [2, 0, 1]] for p in pictures]
    torch.testing.assert_close(model(pictures, present), model(turned, present[:, :, [2, 0, 1]]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_reach_every_present_picture_and_none_that_is_absent(fusion):
    model = whole_model(fusion)
    pictures, present = patients_of(model, 3)
    leaves = [p.requires_grad_() for p in pictures]
    model(leaves, present)[:, 0].sum().backward()
    for m, leaf in enumerate(leaves):
        assert torch.equal(leaf.grad.abs().sum((2, 3, 4)) > 0, present[:, m])


def test_a_modality_that_nobody_has_is_left_out():
    model = whole_model("cross-attention")
    pictures, present = patients_of(model, 1)
    present[:, 0], present[:, 1:] = False, True
    assert model(pictures, present).isfinite().all()


def test_a_run_without_pictures_holds_no_network(make_cohort, tmp_path):
    cohort, run = make_cohort(12), RunFolder(tmp_path / "baseline-chance")
    run.write_record(
        ClinicalRecord(settings=ClinicalSettings(model="chance"), cohort=cohort.describe(), **new_origin())
    )
    run.predictions.touch()
    with pytest.raises(RunError, match="holds no network"):
        load_run(run)
