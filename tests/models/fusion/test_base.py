from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_ln.heads import TRAINED_HEADS, fields_of
from fusion_ln.models.fusion.base import Triplets, TripletShape, build_head, mean_over_views
from fusion_ln.models.late.late_mean import mean_probability
from fusion_ln.settings.fusion import HeadSettings

SHAPE = TripletShape(n_modalities=3, n_features=12, n_classes=3)


def make_head(name, anchored=True):
    """A head whose correction is not zero, as after training."""
    torch.manual_seed(0)
    head = build_head(HeadSettings(head=name, width=16, anchored=anchored), SHAPE).eval()
    torch.nn.init.normal_(head.last[-1].weight)
    return head


def triplets_of(seed, n=5, views=2, **sizes):
    g = torch.Generator().manual_seed(seed)
    present = torch.rand(n, 3, views, generator=g) < 0.6
    present[torch.arange(n), torch.randint(0, 3, (n,), generator=g), 0] = True
    tokens = torch.randn(n, 3, views, 4, 12, generator=g)
    return Triplets(tokens, torch.randn(n, 3, views, 3, generator=g), present, torch.zeros(n, 0))


def pick(triplets, rows):
    return Triplets(*(getattr(triplets, name)[rows] for name in ("tokens", "logits", "present", "clinical")))


@pytest.mark.parametrize("name", TRAINED_HEADS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_a_patient_does_not_depend_on_batch_mates(name, seed):
    head, triplets = make_head(name), triplets_of(seed)
    alone = torch.cat([head(pick(triplets, [i])) for i in range(5)])
    torch.testing.assert_close(head(triplets), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TRAINED_HEADS)
@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e4, float("nan"), float("inf")]))
@settings(max_examples=8, deadline=None)
def test_an_absent_picture_cannot_change_the_answer(name, seed, noise):
    head, triplets = make_head(name), triplets_of(seed)
    absent = ~triplets.present[..., None]
    other = Triplets(
        triplets.tokens.masked_fill(absent[..., None], noise),
        triplets.logits.masked_fill(absent, noise),
        triplets.present,
        triplets.clinical,
    )
    assert torch.equal(head(triplets), head(other))


@pytest.mark.parametrize("name", TRAINED_HEADS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_the_order_of_views_cannot_change_the_answer(name, seed):
    head, triplets = make_head(name), triplets_of(seed, views=3)
    turned = Triplets(
        triplets.tokens[:, :, [2, 0, 1]],
        triplets.logits[:, :, [2, 0, 1]],
        triplets.present[:, :, [2, 0, 1]],
        triplets.clinical,
    )
    torch.testing.assert_close(head(triplets), head(turned), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_gradients_reach_every_present_picture_and_none_that_is_absent(name):
    head, triplets = make_head(name), triplets_of(3)
    tokens = triplets.tokens.clone().requires_grad_()
    head(Triplets(tokens, triplets.logits, triplets.present, triplets.clinical))[:, 0].sum().backward()
    reached = tokens.grad.abs().sum((3, 4)) > 0
    assert torch.equal(reached, triplets.present)


@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_clinical_columns_reach_the_answer(name):
    torch.manual_seed(0)
    head = build_head(HeadSettings(head=name, width=16), replace(SHAPE, n_clinical=2)).eval()
    torch.nn.init.normal_(head.last[-1].weight)
    triplets = replace(triplets_of(4), clinical=torch.randn(5, 2).requires_grad_())
    head(triplets)[:, 0].sum().backward()
    assert (triplets.clinical.grad.abs() > 0).all()


@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_an_anchored_head_starts_at_late_fusion(name):
    triplets = triplets_of(1)
    head = build_head(HeadSettings(head=name, width=16), SHAPE).eval()
    torch.testing.assert_close(head(triplets), mean_probability(mean_over_views(triplets)))


def test_the_logits_of_a_modality_are_the_mean_over_its_views():
    """Averaged one by one, over those there are."""
    triplets = triplets_of(2)
    modality_logits = mean_over_views(triplets)
    for patient, modality in np.ndindex(5, 3):
        present = triplets.present[patient, modality]
        assert bool(modality_logits.present[patient, modality]) == bool(present.any())
        if present.any():
            mean = triplets.logits[patient, modality][present].mean(0)
            torch.testing.assert_close(modality_logits.logits[patient, modality], mean)


def learns_the_sum_of_digits(head):
    """Train a head on the sum modulo 3 of three digits, one per modality, which no pair of pictures tells."""
    digits = torch.cartesian_prod(*[torch.arange(3)] * 3)
    n, labels = len(digits), digits.sum(1) % 3
    tokens = 3 * torch.nn.functional.one_hot(digits, 12).float()[:, :, None, None]
    triplets = Triplets(tokens, torch.zeros(n, 3, 1, 3), torch.ones(n, 3, 1, dtype=torch.bool), torch.zeros(n, 0))
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(150):
        logits = head(triplets)
        if torch.equal(logits.argmax(1), labels):
            return True
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    return False


@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_a_head_can_learn_what_only_the_whole_triplet_shows(name):
    torch.manual_seed(0)
    assert learns_the_sum_of_digits(build_head(HeadSettings(head=name, width=32, dropout=0), SHAPE))


def test_a_head_that_adds_up_what_each_modality_shows_cannot_learn_it():
    class Additive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.each = torch.nn.ModuleList(
                torch.nn.Sequential(torch.nn.Linear(12, 32), torch.nn.GELU(), torch.nn.Linear(32, 3)) for _ in range(3)
            )

        def forward(self, triplets):
            return sum(each(triplets.tokens[:, m, 0, 0]) for m, each in enumerate(self.each))

    torch.manual_seed(0)
    assert not learns_the_sum_of_digits(Additive())


class Recorded:
    """Settings that note which of their fields are read."""

    def __init__(self, settings):
        self.settings, self.read = settings, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.settings, name)


@pytest.mark.parametrize("name", TRAINED_HEADS)
def test_the_settings_that_a_head_reads_are_found_in_its_code(name):
    recorded = Recorded(HeadSettings(head=name))
    build_head(recorded, SHAPE)
    assert fields_of(name) == recorded.read - {"head"}
