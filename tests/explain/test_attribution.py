"""Maps of every method: against an independent library, and against models whose sensitive pixels are known."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
from captum.attr import GuidedGradCam, IntegratedGradients, LayerGradCam, Occlusion
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from fusion_ln.errors import SettingsError
from fusion_ln.explain import memory
from fusion_ln.explain.attribution import grad_cam, guided_grad_cam
from fusion_ln.explain.integrated import integrated_gradients
from fusion_ln.explain.memory import within_memory
from fusion_ln.explain.methods import METHODS, fitting_methods
from fusion_ln.explain.network import Explained, Planes
from fusion_ln.models.backbones import Backbone
from fusion_ln.models.classifier import Classifier
from fusion_ln.models.triplet import Single, TripletModel

SIDE = 64


class Spots(nn.Module):
    """A network that looks at nothing but a square: its one feature is the mean of the square's pixels, squared."""

    def __init__(self, top: int = 16, left: int = 32, side: int = 16) -> None:
        super().__init__()
        self.num_features = 1
        self.pretrained_cfg = {}
        self.window = (..., slice(top, top + side), slice(left, left + side))

    def forward_features(self, x):
        return x[self.window].mean((1, 2, 3), keepdim=True)[..., None] ** 2

    def forward_head(self, x, pre_logits=True):
        return x.flatten(1)[:, :1]


@pytest.fixture
def spots():
    body = Spots()
    backbone = Backbone(body)
    backbone.mean.zero_()
    backbone.std.fill_(1)
    head = nn.Linear(1, 3)
    nn.init.constant_(head.weight, 1.0)
    model = TripletModel({"2d": Classifier(backbone, head)}, Single(), {"2d": SIDE})
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[body.window] = True
    return Explained(model), inside


def normalised(values):
    values = np.asarray(values, dtype=np.float64)
    return (values - values.min()) / (values.max() - values.min())


def target_with_map(case, explained):
    """The class whose Grad-CAM is not blank."""
    return next(c for c in range(3) if float(grad_cam(explained, [case.of(c)])[0][0].sum()) > 0)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_grad_cam_agrees_with_pytorch_grad_cam(make_model, make_case, backbone):
    model, case = make_model(backbone), make_case()
    explained = Explained(model)
    case = case.of(target_with_map(case, explained))
    ours = grad_cam(explained, [case])[0][0][0]
    classifier = model.members["2d"].requires_grad_()  # which the explanation switched off
    body = classifier.backbone.body
    if backbone == "test_vit":
        layers, grid = [body.blocks[-1].norm1], body.patch_embed.grid_size
        assert grid == (4, 4)  # 64 pixels in patches of 16, whatever the grid of the network's own size

        def planes(tokens):
            return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *grid)
    else:
        layers, planes = [body.layer4], None
    other = GradCAM(model=classifier, target_layers=layers, reshape_transform=planes)
    theirs = other(input_tensor=case.pictures[0][0], targets=[ClassifierOutputTarget(case.target)])[0]
    np.testing.assert_allclose(normalised(ours), normalised(theirs), atol=1e-4)


@pytest.mark.parametrize("head", ["late-mean", "cross-attention"])
def test_grad_cam_of_a_triplet_is_captums_of_each_modality(make_model, make_case, head):
    explained, total = Explained(make_model(head=head)), 0.0
    for case in map(make_case((2, 1, 1)).of, range(3)):
        [maps], encoded = grad_cam(explained, [case]), explained.encode(case)
        for m, name in enumerate(explained.modalities):
            cam = LayerGradCam(partial(explained.fuse, case, encoded, m), explained.planes(name))
            theirs = cam.attribute(case.pictures[m], case.target, relu_attributions=True)
            full = torch.nn.functional.interpolate(theirs, size=(SIDE, SIDE), mode="bilinear")[:, 0]
            torch.testing.assert_close(maps[m][case.present[0, m]], full.detach())
            total += float(full.detach().sum())
    assert total > 0


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_guided_grad_cam_agrees_with_captums_own(make_model, make_case):
    explained, case = Explained(make_model()), make_case()
    case = case.of(target_with_map(case, explained))
    ours = guided_grad_cam(explained, [case])[0][0]
    member = explained.model.members["2d"].requires_grad_()
    theirs = GuidedGradCam(member, explained.planes("2d")).attribute(
        case.pictures[0][0], case.target, interpolate_mode="bilinear"
    )
    assert float(ours.abs().sum()) > 0
    torch.testing.assert_close(ours, theirs.sum(1))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit", "test_byobnet"])
def test_every_kind_of_network_has_planes(make_model, make_case, name):
    explained, case = Explained(make_model(name)), make_case()
    maps = [grad_cam(explained, [case.of(target)])[0][0] for target in range(3)]
    assert all(m.shape == (1, SIDE, SIDE) for m in maps)
    assert any(float(m.sum()) > 0 for m in maps)
    assert explained.grids["2d"] == ((4, 4) if name == "test_vit" else (2, 2))


def test_reading_planes_does_not_change_the_predictions(make_model, make_case):
    for name in ("test_vit", "test_resnet", "test_convnext"):
        explained, case = Explained(make_model(name)), make_case()
        before = explained.probs(case)
        explained.planes("2d")
        torch.testing.assert_close(explained.probs(case), before)


def test_the_grid_of_a_vision_transformer_at_384_pixels_is_24_by_24():
    with torch.device("meta"):
        body = timm.create_model("vit_base_patch16_384", num_classes=0)
        layer = Planes(nn.Identity(), body)
        shapes = []
        layer.planes.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape)))
        layer(torch.zeros(1, 1 + 576, 768))
    assert shapes == [(1, 768, 24, 24)]


@pytest.mark.parametrize("method", ["ig", "occlusion"])
def test_maps_lie_on_the_only_pixels_that_matter(spots, make_case, method):
    explained, inside = spots
    values = METHODS[method].attribute(explained, make_case()).maps[0][0]
    weight = values.abs()
    reach = inside.clone()
    if method == "occlusion":  # a window that touches the square reaches out of it by less than its side
        reach[9:39, 25:55] = True
    assert float(weight[reach].sum()) == pytest.approx(float(weight.sum()), rel=1e-5)
    assert float(values[inside].min()) > 0


def test_integrated_gradients_sum_to_the_change_of_the_logit(make_model, make_case):
    for backbone, head, views in (("test_resnet", "late-mean", (1, 2, 1)), ("test_vit", "cross-attention", (1, 0, 1))):
        explained, case = Explained(make_model(backbone, head)), make_case(views)
        found = integrated_gradients(explained, case)
        black = case.with_pictures([torch.zeros_like(p) for p in case.pictures])
        with torch.no_grad():
            change = (explained(*case.pictures, *case.more) - explained(*black.pictures, *case.more))[0, case.target]
        total = sum(float(m.sum()) for m in found.maps)
        assert total == pytest.approx(float(change), rel=0.01)
        assert found.error < 0.01


@pytest.mark.parametrize("side", [64, 60])  # squares of 8: the last of a row reaches out of the smaller picture
def test_quick_and_exact_maps_agree_with_captums(make_model, make_case, side):
    explained, case = Explained(make_model(head="late-mean", side=side)), make_case((1, 0, 2), side)
    _, quick, _ = METHODS["ig"].with_quick(explained, case)
    more = {"target": case.target, "additional_forward_args": case.more}
    theirs = IntegratedGradients(explained).attribute(case.pictures, n_steps=16, **more)
    for ours, values in zip(quick, theirs, strict=True):
        torch.testing.assert_close(ours, values[0].sum(1).detach().float(), rtol=1e-3, atol=1e-7)
    exact, quick, _ = METHODS["occlusion"].with_quick(explained, case)
    for maps, overlap in ((exact.maps, 2), (quick, 1)):
        encoded = explained.encode(case)
        for m in case.modalities:
            window = {"sliding_window_shapes": (1, 3, 8, 8), "strides": (1, 3, 8 // overlap, 8 // overlap)}
            method = Occlusion(partial(explained.fuse, case, encoded, m))
            values = method.attribute(case.pictures[m], target=case.target, perturbations_per_eval=16, **window)
            present = case.present[0, m]
            torch.testing.assert_close(maps[m][present], values[0].mean(1)[present].detach(), rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
@pytest.mark.parametrize(
    ("backbone", "head", "at_once"), [("test_resnet", "late-mean", 5), ("test_vit", "cross-attention", 128)]
)
def test_versions_have_together_the_maps_that_each_has_alone(
    make_model, make_case, monkeypatch, backbone, head, at_once
):
    monkeypatch.setattr(memory, "MOST_AT_ONCE", at_once)
    explained, case = Explained(make_model(backbone, head)), make_case((2, 0, 1))
    versions = [case.with_pictures([p * share for p in case.pictures]) for share in (1, 0.7, 0.2)]
    for name in fitting_methods(explained):
        quick = METHODS[name].quick
        for together, version in zip(quick(explained, versions), versions, strict=True):
            torch.testing.assert_close(together, quick(explained, [version])[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("backbone", "head"), [("test_resnet", "concat"), ("test_vit", "late-mean")])
def test_copies_have_beside_the_model_the_maps_that_they_have_alone(make_model, make_case, backbone, head):
    explained, case = Explained(make_model(backbone, head)), make_case((2, 0, 1))
    copies = [explained.shuffled(share, torch.Generator().manual_seed(0)) for share in (0.1, 1.0)]
    for name in ("gradcam", "occlusion"):
        exact, quick, others = METHODS[name].with_quick(explained, case, copies)
        torch.testing.assert_close(exact.maps, METHODS[name].attribute(explained, case).maps)
        for each, maps in zip([explained, *copies], [quick, *others], strict=True):
            torch.testing.assert_close(maps, METHODS[name].quick(each, [case])[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("backbone", "head"), [("test_resnet", "late-mean"), ("test_vit", "cross-attention")])
def test_absent_modalities_and_views_have_blank_maps(make_model, make_case, backbone, head):
    explained, case = Explained(make_model(backbone, head)), make_case((2, 0, 1))
    names = fitting_methods(explained)
    assert set(names) >= {"gradcam", "ig", "occlusion"}
    for name in names:
        maps = METHODS[name].attribute(explained, case).maps
        assert [m.shape for m in maps] == [(2, SIDE, SIDE)] * 3
        assert float(maps[1].abs().sum()) == 0
        assert float(maps[2][1].abs().sum()) == 0


def test_maps_do_not_change_the_pixels_or_the_model(explained, make_case):
    case = make_case((1, 1, 1))
    pictures, probs = [p.clone() for p in case.pictures], explained.probs(case)
    for name in fitting_methods(explained):
        METHODS[name].attribute(explained, case)
    assert all(torch.equal(a, b) for a, b in zip(pictures, case.pictures, strict=True))
    torch.testing.assert_close(explained.probs(case), probs)


def test_attention_sums_to_one_over_the_tokens_of_all_pictures(make_model, make_case):
    explained, case = Explained(make_model("test_vit", "cross-attention")), make_case((1, 0, 2))
    maps = METHODS["attention"].attribute(explained, case).maps
    corners = [m[:, :: SIDE - 1, :: SIDE - 1] for m in maps]  # 2 x 2 tokens: their values stand in the corners
    assert sum(float(c.sum()) for c in corners) == pytest.approx(1, abs=1e-5)


def test_only_the_cross_attention_head_has_attention_maps(explained, make_case):
    with pytest.raises(SettingsError, match="only a run of the head `cross-attention`"):
        METHODS["attention"].attribute(explained, make_case((1, 1, 1)))


def test_a_network_without_relu_has_no_guided_grad_cam(make_model, make_case):
    explained = Explained(make_model("test_vit"))
    assert fitting_methods(explained) == ["gradcam", "ig", "occlusion"]
    with pytest.raises(SettingsError, match="needs ReLU activations"):
        METHODS["guided-gradcam"].attribute(explained, make_case())


def test_only_grad_cam_refuses_a_network_without_spatial_features(spots, make_case):
    explained, _ = spots
    assert fitting_methods(explained) == ["ig", "occlusion"]
    with pytest.raises(SettingsError, match="keeps no spatial features"):
        grad_cam(explained, [make_case()])


def test_a_last_stage_of_a_single_position_is_refused(make_model, make_case):
    with pytest.raises(SettingsError, match="32 x 32 pixels to a single position"):
        grad_cam(Explained(make_model(side=32)), [make_case(side=32)])


def test_batches_shrink_while_memory_runs_out(capsys, make_case):
    sizes, case = [], make_case(side=128)

    def compute(at_once):
        sizes.append(at_once)
        if at_once > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return "done"

    assert within_memory(compute, case) == "done"
    assert sizes == [32, 16, 8]
    assert "continuing with batches of 8 versions" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="does not hold a forward"):
        within_memory(lambda at_once: (_ for _ in ()).throw(RuntimeError("can't allocate memory")), case)
    with pytest.raises(RuntimeError, match="another"):
        within_memory(lambda at_once: (_ for _ in ()).throw(RuntimeError("another")), case)
