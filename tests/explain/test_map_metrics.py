import captum.metrics
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from torchvision.transforms.v2.functional import gaussian_blur

from fusion_ln.decode.picture import read_picture
from fusion_ln.explain.map_metrics import (
    NOISE,
    NOISE_DRAWS,
    RANDOMIZED_SHARES,
    SQUARES,
    MapTests,
    random_maps,
    rank_correlation,
)
from fusion_ln.explain.methods import METHODS
from fusion_ln.explain.network import Explained
from fusion_ln.explain.phantom_masks import picture_masks
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.models.triplet import Single, TripletModel

SIDE = 64


class Square(TripletModel):
    """A model of one modality that measures the brightness of a square, and nothing else."""

    def __init__(self) -> None:
        super().__init__({}, Single(), {"2d": SIDE})
        self.inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        self.inside[8:24, 40:56] = True

    def forward(self, pictures, present, clinical=None):
        bright = pictures[0][:, 0, :, self.inside].mean((1, 2))
        return torch.stack([4 * bright, torch.zeros_like(bright), torch.zeros_like(bright)], 1)


@pytest.fixture
def square(make_case):
    explained = Explained(Square())
    return explained, make_case(target=0), explained.model.inside


def test_curves_of_the_decisive_pixels_beat_those_of_random_ones(square):
    explained, case, inside = square
    known, nothing = [inside.float()[None]], random_maps(case, 0).maps
    tests = MapTests(explained, case, 0)
    start, end = explained.probs(case)[0, 0], 1 / 3
    of_known, of_nothing = tests.curves([known, nothing])
    for curves in (of_known, of_nothing):
        assert curves.deletion[0] == pytest.approx(float(start))
        assert curves.deletion[-1] == pytest.approx(end)
    assert of_known.deletion.mean() < of_nothing.deletion.mean() - 0.1
    # The square is a sixteenth of the picture: two of twenty steps take all of it.
    assert of_known.deletion[2] == pytest.approx(end)
    assert of_known.insertion[2] == pytest.approx(float(start))


def test_insertion_starts_from_pictures_that_torchvision_blurs_alike(square):
    explained, case, _ = square
    blurred = gaussian_blur(case.pictures[0][0], [17, 17], [SIDE / 16, SIDE / 16])[None]
    [curves] = MapTests(explained, case, 0).curves([random_maps(case, 0).maps])
    assert curves.insertion[0] == pytest.approx(float(explained.probs(case.with_pictures([blurred]))[0, 0]), rel=1e-6)


def test_a_flat_map_gains_nothing_from_the_order_of_rows(square):
    explained, case, _ = square
    flat, nothing = [torch.zeros(1, SIDE, SIDE)], random_maps(case, 1).maps
    curves = [each.deletion.mean() for each in MapTests(explained, case, 0).curves([flat, nothing])]
    assert curves[0] == pytest.approx(curves[1], abs=0.02)


def test_infidelity_is_low_for_a_true_map_and_high_for_a_false_one(square):
    explained, case, inside = square
    true = [case.pictures[0][0].mean(1) * inside]  # the logit is linear in these pixels
    false = [torch.roll(true[0], 30, 1)]
    tests = MapTests(explained, case, 0)
    assert tests.infidelity(true) < 0.02
    assert tests.infidelity([1000 * true[0]]) < 0.02  # its scale does not matter
    assert tests.infidelity(false) > 0.2
    assert tests.infidelity([torch.zeros_like(true[0])]) == pytest.approx(1)


def test_sensitivity_is_zero_where_noise_changes_nothing(square):
    explained, case, inside = square
    tests = MapTests(explained, case, 0)
    fixed, mean = [inside.float()[None]], [case.pictures[0][0].mean(1)]
    assert tests.sensitivity(lambda e, cases: [fixed for _ in cases], fixed) == 0
    assert tests.sensitivity(lambda e, cases: [[c.pictures[0][0].mean(1)] for c in cases], mean) > 0


def test_infidelity_and_sensitivity_agree_with_captums(make_model, make_case):
    """Captum computes them map by map; here the squares' effects and the first maps are computed once."""
    explained, case = Explained(make_model(head="late-mean")), make_case((1, 0, 2))
    tests, quick = MapTests(explained, case, 5), METHODS["occlusion"].quick
    [maps] = quick(explained, [case])

    def infidelity(attributions):
        generator = torch.Generator().manual_seed(5)

        def blacken(pictures):
            masks = []
            for picture in pictures:
                masks.append(mask := torch.zeros_like(picture))
                for row in mask.flatten(0, 1):
                    size = int(torch.randint(SIDE // 8, SIDE // 2, (), generator=generator))
                    top, left = torch.randint(0, SIDE - size + 1, (2,), generator=generator).tolist()
                    row[:, top : top + size, left : left + size] = 1
            return tuple(masks), tuple(p * (1 - mask) for p, mask in zip(pictures, masks, strict=True))

        value = captum.metrics.infidelity(
            explained, blacken, case.pictures, tuple(attributions), additional_forward_args=case.more,
            target=case.target, n_perturb_samples=SQUARES, max_examples_per_batch=SQUARES, normalize=True,
        )  # fmt: skip
        return float(value)

    full = [(m[None, :, None] / 3).expand_as(p) for m, p in zip(maps, case.pictures, strict=True)]
    expected = infidelity(full) / infidelity([torch.zeros_like(p) for p in case.pictures])
    assert tests.infidelity(maps) == pytest.approx(expected, abs=1e-4)

    generator = torch.Generator().manual_seed(5)

    def disturb(pictures):
        return tuple(p + NOISE * (2 * torch.rand(p.shape, generator=generator) - 1) for p in pictures)

    def repeat(pictures):
        rows = quick(explained, [case.with_pictures([p[[b]] for p in pictures]) for b in range(len(pictures[0]))])
        return tuple(torch.stack(each) for each in zip(*rows, strict=True))

    expected = captum.metrics.sensitivity_max(
        repeat, case.pictures, disturb, n_perturb_samples=NOISE_DRAWS, max_examples_per_batch=NOISE_DRAWS
    )
    assert tests.sensitivity(quick, maps) == pytest.approx(float(expected), rel=1e-4)


def test_maps_correlate_as_scipy_ranks_their_pixels_ties_and_all(make_case, rng):
    case = make_case((2, 0, 1))
    maps, others = ([torch.from_numpy(rng.integers(0, 9, (2, SIDE, SIDE))).float() for _ in range(3)] for _ in range(2))
    others = [a + b for a, b in zip(maps, others, strict=True)]
    pixels = [np.concatenate([each[0].flatten(), each[2][0].flatten()]) for each in (maps, others)]  # those present
    assert rank_correlation(case, maps, others) == pytest.approx(spearmanr(*pixels).statistic)
    others[0][0, 0, 0] = torch.nan
    assert np.isnan(rank_correlation(case, maps, others))


def test_shuffled_weights_change_the_map_but_not_the_model_itself(make_model, make_case):
    explained, case = Explained(make_model("test_vit", "late-mean")), make_case((1, 1, 1))
    probs = explained.probs(case)
    randomized = explained.shuffled(1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(explained.probs(case), probs)
    for name, tensor in explained.named_parameters():
        other = randomized.get_parameter(name)
        torch.testing.assert_close(other.flatten().sort().values, tensor.flatten().sort().values)
    maps, other = (METHODS["ig"].quick(model, [case])[0] for model in (explained, randomized))
    assert rank_correlation(case, maps, maps) == pytest.approx(1)
    assert abs(rank_correlation(case, maps, other)) < 0.5


def test_a_small_share_shuffles_the_last_layers_alone(make_model):
    explained = Explained(make_model("test_vit"))
    randomized = explained.shuffled(RANDOMIZED_SHARES[0], torch.Generator().manual_seed(0))
    changed = [n for (n, a), b in zip(explained.named_parameters(), randomized.parameters(), strict=True)
               if not torch.equal(a, b)]  # fmt: skip
    assert any(".head." in name for name in changed)
    assert not any("patch_embed" in name or "blocks.0" in name for name in changed)


def test_the_same_case_gets_the_same_scores(make_model, make_case):
    explained, case = Explained(make_model("test_vit", "late-mean")), make_case((1, 0, 1))
    method = METHODS["gradcam"]
    randomized = [explained.shuffled(share, torch.Generator().manual_seed(0)) for share in RANDOMIZED_SHARES]
    found, quick, others = method.with_quick(explained, case, randomized)
    first, second = (MapTests(explained, case, 0).score(method, found, quick, others) for _ in range(2))
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(second)[name])
    assert first.randomised.shape == (len(RANDOMIZED_SHARES),)
    assert np.isfinite(first.randomised).all()


@pytest.mark.parametrize(("width", "height"), [(96, 96), (120, 60), (50, 100)])
def test_masks_lie_where_the_prepared_picture_shows_the_node(tmp_path, width, height):
    """A white node on black, prepared as a network sees it, is the mask."""
    from PIL import Image, ImageDraw

    outline = np.array([(0.3, 0.4), (0.5, 0.2), (0.7, 0.5), (0.5, 0.8)]) * [width, height]
    picture = Image.new("RGB", (width, height))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in outline], fill="white")
    picture.save(tmp_path / "node.png")
    seen = prepare_picture(read_picture(tmp_path / "node.png"), SIDE)[0] > 127
    mark = {"name": "site", "left": 0.0, "top": 0.0, "right": width / 4, "bottom": height / 8}
    row = pd.Series({"outline_x": outline[:, 0], "outline_y": outline[:, 1], "marks": [mark]})
    node, marks = picture_masks(row, width, height, SIDE)
    assert (node & seen).sum() / (node | seen).sum() > 0.9
    assert not (node & marks).any()
    area = SIDE**2 * min(width, height) / max(width, height) / 32
    assert marks.sum() == pytest.approx(area, rel=0.35)
